"""Autoencoders, undercomplete or overcomplete with a regulariser, and a density of the code for generation."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.errors import SettingsError
from fastv.models.codes import Code
from fastv.models.contract import Batch, Domain, GeneratorSettings, NoiseSpec
from fastv.models.grid_networks import GridDecoder, GridEncoder, NetworkSettings
from fastv.models.layer_grid import LayerGrid, LayerLinear
from fastv.models.linear import least_squares, log_spread, powers
from fastv.models.mixture import ConditionalMixture
from fastv.models.networks import MLP
from fastv.models.numbers import NumbersGenerator

Regulariser = Literal["none", "top-k", "l1", "contractive", "denoising"]


_SPARSE = ("top-k", "l1")


class AutoencoderSettings(GeneratorSettings):
    """Settings of :class:`Autoencoder`.

    Attributes:
        network: ``dense`` codes the whole shower; ``layerwise`` codes each layer of the detector separately, with the
            same weights for all of the same cells; a grid network, given by its ``kind`` and settings, codes the whole
            shower.
        code: size of the code, for each layer if ``layerwise``.
        hidden: widths of the encoder, mirrored in the decoder; with a grid network, the first is the width behind it. A
            sparse code (``top-k``, ``l1``) has a linear decoder.
        regulariser: what keeps an overcomplete code from being a copy of the shower.
        strength: weight of the penalty of ``l1`` or ``contractive``.
        sparsity: fraction of the code that ``top-k`` keeps.
        corruption: standard deviation of the noise that ``denoising`` adds, in units of the spread of each number.
        density_components: number of principal components of the code that the mixture describes.
        density_parts: number of Gaussians in the mixture.
    """

    network: Literal["dense", "layerwise"] | NetworkSettings = "dense"
    code: PositiveInt = 16
    hidden: tuple[PositiveInt, ...] = (512, 128)
    regulariser: Regulariser = "none"
    strength: NonNegativeFloat = 1.0
    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.05
    corruption: PositiveFloat = 0.5
    density_components: PositiveInt = 32
    density_parts: PositiveInt = 16

    @field_validator("regulariser", mode="before")
    @classmethod
    def _not_one_of_before(cls, value: Any) -> Any:
        if value == "kl":
            msg = "regulariser 'kl' gave codes that were not sparse, and is gone; train with 'top-k' in its place"
            raise ValueError(msg)
        return value


class Autoencoder(NumbersGenerator):
    r"""Autoencoder of the standardised numbers of a shower, and a density of its hidden code.

    The numbers x of a shower are those of :class:`~fastv.models.numbers.NumbersGenerator`. Each is standard normal, so
    the part of x that the decoder does not reproduce can be generated as noise. With the hidden code h = f(x, c),
    conditions c and decoder g, the loss is, divided by the number of numbers,

        \|x - g(h, c)\|^2 + strength * penalty

    * ``none``: no penalty; the code must be undercomplete.
    * ``top-k``: h = max(f, 0) for the fraction ``sparsity`` of the units with the largest f, and 0 for all others.
    * ``l1``: h = max(f, 0), and the penalty is the sum of h.
    * ``contractive``: h is between 0 and 1 by a sigmoid, and the penalty is \|\|dh/dx\|\|_F^2: exact if the encoder is
      one layer (``hidden`` empty), otherwise estimated as \|dh/dx v\|^2 with one normal direction v for each shower.
    * ``denoising``: no penalty; the encoder sees x + ``corruption`` n, n standard normal, and must reconstruct x.

    A penalty on the size of the code is worth nothing if the decoder can undo its scale. So the decoder of a sparse
    code (``top-k``, ``l1``) is a dictionary, g(h, c) = D h + b(c), whose columns have unit length: h tells how much of
    each element there is. The decoder of a contractive code has the transposed weights of its encoder.

    The code is overcomplete with ``layerwise`` and a code larger than the number of cells of a layer. For generation,
    :meth:`calibrate` fits the density p(f | c) of the code before it is cut or squashed: a conditional mixture of
    Gaussians for the leading principal components of f, independent noise for the others, and independent noise for the
    residuals x - g(h, c). So generated codes are as sparse as those of true showers. The reconstruction error, which is
    small for showers like those of the training sample, is returned by :meth:`anomaly`.

    Shapes: showers (N, V) MeV, conditions (N, C); noise (N, components + code + numbers) normal and one uniform column.

    Raises:
        SettingsError: a code without regulariser is not smaller than the numbers it codes; a contractive code with a
            grid network; convolutions, and a mesh whose layers differ in their cells.

    Source: Hinton and Salakhutdinov, Science 313 (2006) 504; Makhzani and Frey, arXiv 1312.5663 (``top-k``); Olshausen
    and Field, Vision Research 37 (1997) 3311 (``l1``, dictionaries); Rifai et al., ICML 2011, equations (5) and (7)
    (``contractive``); Vincent et al., ICML 2008 (``denoising``).
    """

    family: ClassVar[str] = "autoencoder"
    Settings: ClassVar[type[GeneratorSettings]] = AutoencoderSettings
    any_mesh: ClassVar[bool] = True
    settings: AutoencoderSettings
    mean: Tensor
    components: Tensor
    spread: Tensor
    log_residual: Tensor
    depth: Tensor

    def __init__(self, settings: AutoencoderSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        conditions, widths = self.scaler.size, settings.hidden
        if settings.network != "layerwise":
            self.size, self.tokens = settings.code, 1
            inputs = self.numbers
        else:
            # The numbers of a layer are its energy and its cells; the response of the shower is added to each layer.
            self.size, self.tokens = settings.code * self.layers, self.layers
            inputs = 2 + self.grid.cells
        if settings.regulariser == "none" and settings.code >= inputs:
            msg = (
                f"model.code {settings.code} is not smaller than the {inputs} numbers it codes: take a smaller one, or "
                "a model.regulariser (top-k, l1, contractive, denoising)"
            )
            raise SettingsError(msg)
        contractive = settings.regulariser == "contractive"
        if contractive and not isinstance(settings.network, str):
            msg = (
                "model.regulariser 'contractive' needs an encoder of dense layers, whose weights the decoder shares: "
                f"take model.network dense or layerwise, not {settings.network.kind}"
            )
            raise SettingsError(msg)
        self.encoder: nn.Module
        self.decoder: nn.Module
        if isinstance(settings.network, str):
            self.encoder = encoder = MLP(inputs + conditions + 1, widths, settings.code)
            if settings.network == "layerwise" and not self.grid.alike:
                # Cells that differ have weights of their own.
                used = [size + 2 + conditions + 1 for size in self.grid.sizes]
                first = (*widths, settings.code)[0]
                encoder[0] = LayerLinear(self.grid.kinds, used, inputs + conditions + 1, first)
        else:
            self.encoder = _NumbersEncoder(settings.network, self.grid, conditions + 1, settings)
        if settings.regulariser in _SPARSE:
            self.decoder = _Dictionary(settings.code, self._to_numbers(conditions + 1, widths[-1:]), self._used())
        elif contractive:
            self.decoder = _Transposed(self._to_numbers(conditions + 1, widths[-1:]), widths[::-1])
        elif isinstance(settings.network, str):
            self.decoder = self._to_numbers(settings.code + conditions + 1, widths[::-1])
        else:
            self.decoder = _NumbersDecoder(settings.network, self.grid, conditions + 1, settings)
        self.register_buffer("depth", torch.linspace(-1, 1, self.tokens)[None, :, None], persistent=False)
        k = min(settings.density_components, self.size)
        self.mixture = ConditionalMixture(k, conditions, settings.density_parts)
        self.register_buffer("mean", torch.zeros(1 + 3 * conditions, self.size))
        self.register_buffer("components", torch.eye(k, self.size))
        self.register_buffer("spread", torch.ones(self.size))
        self.register_buffer("log_residual", torch.zeros(1 + conditions, self.numbers))
        self.shower_noise = NoiseSpec(normal=k + self.size + self.numbers, uniform=1)

    def _to_numbers(self, inputs: int, widths: tuple[int, ...]) -> MLP:
        """A dense network with the numbers of a token as outputs."""
        layerwise = self.settings.network == "layerwise"
        outputs = 2 + self.grid.cells if layerwise else self.numbers
        network = MLP(inputs, widths, outputs)
        if layerwise and not self.grid.alike:
            last = (inputs, *widths)[-1]
            network[-1] = LayerLinear(self.grid.kinds, [last] * self.layers, last, outputs)
        return network

    def _used(self) -> Tensor:
        """Which numbers of each kind of token are not always 0, (kinds, numbers)."""
        if self.settings.network != "layerwise":
            return torch.ones(1, self.numbers)
        inside = torch.stack([self.grid.inside[alike[0]].flatten() for alike in self.grid.groups])
        return F.pad(inside, (2, 0), value=1.0)

    def _tokens(self, batch: Batch, *, middle: bool = False) -> Tensor:
        """The numbers of showers as tokens: (N, 1, numbers), or (N, L, 2 + cells)."""
        if self.settings.network != "layerwise":
            return self._numbers(batch, middle=middle)[:, None]
        codes, voxels = self._codes(batch, middle=middle)
        response = codes[:, :1, None].expand(-1, self.layers, -1)
        return torch.cat([response, codes[:, 1:, None], voxels.flatten(2)], dim=2)

    def _flat(self, tokens: Tensor) -> Tensor:
        """The numbers of showers, (N, 1 + L + V), from tokens."""
        if self.settings.network != "layerwise":
            return tokens[:, 0]
        voxels = self.grid.flat(tokens[:, :, 2:], axes=2)
        return torch.cat([tokens[:, :, 0].mean(1, keepdim=True), tokens[:, :, 1], voxels], dim=1)

    def _masked(self, tokens: Tensor) -> Tensor:
        """Tokens with 0 in places without voxel."""
        if self.settings.network != "layerwise" or self.grid.full:
            return tokens
        return tokens * F.pad(self.grid.inside.flatten(1), (2, 0), value=1.0)

    def _with_conditions(self, tokens: Tensor, scaled: Tensor) -> Tensor:
        n = tokens.shape[0]
        of_layers = [scaled[:, None].expand(-1, self.tokens, -1), self.depth.expand(n, -1, -1)]
        return torch.cat([tokens, *of_layers], dim=2)

    def _units(self, tokens: Tensor, scaled: Tensor) -> Tensor:
        """Code (N, tokens, code) before it is cut or squashed."""
        units: Tensor = self.encoder(self._with_conditions(self._masked(tokens), scaled))
        return units

    def _activated(self, units: Tensor) -> Tensor:
        """The code of units (..., code)."""
        kind = self.settings.regulariser
        if kind == "contractive":
            return torch.sigmoid(units)
        if kind not in _SPARSE:
            return units
        code = F.relu(units)
        if kind == "top-k":
            least = units.topk(max(1, round(self.settings.sparsity * self.settings.code)), dim=-1).values[..., -1:]
            code = code * (units >= least).to(code.dtype)
        return code

    def _encode(self, tokens: Tensor, scaled: Tensor) -> Tensor:
        """Code (N, tokens, code)."""
        return self._activated(self._units(tokens, scaled))

    def _decode(self, code: Tensor, scaled: Tensor) -> Tensor:
        given = self._with_conditions(code, scaled)
        if isinstance(self.decoder, _Transposed):
            return self._masked(self.decoder(given, self.encoder))
        return self._masked(self.decoder(given))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``reconstruction``, the mean squared error of the numbers, the ``penalty``, and their sum ``loss``.

        For sparse codes also ``active``, the mean fraction of the code that is not 0, and ``unused``, the fraction of
        units that are 0 for the whole batch.
        """
        scaled = self.scaler(batch.conditions)
        tokens = self._tokens(batch)
        seen = tokens
        if self.settings.regulariser == "denoising" and self.training:
            seen = tokens + self.settings.corruption * torch.randn_like(tokens)
        code = self._encode(seen, scaled)
        reconstruction = self._error(self._decode(code, scaled) - tokens).mean()
        terms = {"loss": reconstruction, "reconstruction": reconstruction}
        if (penalty := self._penalty(tokens, code, scaled)) is not None:
            terms["penalty"] = penalty.mean() / self._counted
            terms["loss"] = reconstruction + self.settings.strength * terms["penalty"]
        if self.settings.regulariser in _SPARSE:
            active = (code.detach() > 0).flatten(0, 1).to(code.dtype)
            terms["active"], terms["unused"] = active.mean(), (active.sum(0) == 0).to(code.dtype).mean()
        return terms

    def _penalty(self, tokens: Tensor, code: Tensor, scaled: Tensor) -> Tensor | None:
        """The penalty of each shower, (N,), if there is one."""
        kind = self.settings.regulariser
        if kind == "l1":
            return code.sum((1, 2))
        if kind == "contractive":
            return self._squared_jacobian(tokens, code, scaled)
        return None

    def _squared_jacobian(self, tokens: Tensor, code: Tensor, scaled: Tensor) -> Tensor:
        """Sum of the squared derivatives of the code of each shower with respect to its numbers, (N,)."""
        layers: list[Any] = list(self.encoder.children())
        first, *rest = layers
        slope, used = code * (1 - code), tokens.shape[2]
        if not rest:
            # The derivative of unit j is h_j (1 - h_j) times its weights.
            weight = first.weight[:, :used].T if isinstance(first, nn.Linear) else first.weight[:, :used]
            inside = self._used()[:, :, None].to(weight)
            lengths = (weight * inside).square().sum(-2)
            return (slope.square() * (lengths if len(lengths) == 1 else lengths[first.kind])).sum((1, 2))
        # The mean over normal directions v of |J v|^2 is the squared Frobenius norm of J.
        along = self._masked(torch.randn_like(tokens))
        along = F.pad(along, (0, scaled.shape[1] + 1))
        at = self._with_conditions(self._masked(tokens), scaled)
        for layer in (first, *rest):
            if isinstance(layer, nn.SiLU):
                share = torch.sigmoid(at)
                along, at = along * share * (1 + at * (1 - share)), layer(at)
            else:
                along, at = layer(along) - layer(torch.zeros_like(along)), layer(at)
        return (slope * along).square().sum((1, 2))

    @torch.no_grad()
    def anomaly(self, batch: Batch) -> Tensor:
        """Mean squared reconstruction error of each shower, (N,), large for showers unlike the training sample."""
        scaled = self.scaler(batch.conditions)
        tokens = self._tokens(batch, middle=True)
        return self._error(self._decode(self._encode(tokens, scaled), scaled) - tokens)

    def _error(self, rest: Tensor) -> Tensor:
        """Mean squared deviation (N,) of the numbers of showers, of tokens."""
        return rest.square().sum((1, 2)) / self._counted

    @property
    def _counted(self) -> int:
        """How many numbers of a shower count: places without voxel do not deviate, and do not count."""
        return self.numbers if self.settings.network != "layerwise" else 2 * self.layers + self.grid.n_voxels

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Fit the density of the code, and the spread of the residuals of the reconstruction."""
        scaled = self.scaler(batch.conditions)
        pieces = [slice(start, start + 500) for start in range(0, len(scaled), 500)]
        parts = [
            self._units_and_rest(Batch(batch.energies[rows], batch.conditions[rows]), scaled[rows]) for rows in pieces
        ]
        code, rest = (torch.cat(part) for part in zip(*parts, strict=True))
        self.log_residual.copy_(log_spread(rest, scaled))
        self.mean.copy_(least_squares(powers(scaled, 3), code))
        away = code - powers(scaled, 3) @ self.mean
        k = len(self.components)
        leading = min(k, *away.shape)
        _, _, directions = torch.svd_lowrank(away, q=min(leading + 8, *away.shape), niter=4)
        self.components.zero_()
        self.components[:leading] = directions[:, :leading].T
        scores = away @ self.components.T
        self.mixture.fit(scores, scaled)
        self.spread.copy_((away - scores @ self.components).std(0))

    def _units_and_rest(self, batch: Batch, scaled: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self._tokens(batch)
        units = self._units(tokens, scaled)
        return units.flatten(1), self._flat(tokens - self._decode(self._activated(units), scaled))

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        k = len(self.components)
        scores = self.mixture.sample(scaled, noise[:, :k], noise[:, -1:])
        units = powers(scaled, 3) @ self.mean + scores @ self.components
        units = units + self.spread * noise[:, k : k + self.size]
        code = self._activated(units.reshape(-1, self.tokens, self.settings.code))
        numbers = self._flat(self._decode(code, scaled))
        numbers = numbers + noise[:, k + self.size : -1] * torch.exp(powers(scaled, 1) @ self.log_residual)
        return self._showers(numbers, conditions)

    def encode(self, batch: Batch) -> dict[str, Code]:
        """``code``: the hidden code h, (N, code), or (N, L code) of all layers if ``layerwise``."""
        scaled = self.scaler(batch.conditions)
        return {"code": Code(self._encode(self._tokens(batch, middle=True), scaled).flatten(1))}

    def decode(self, codes: dict[str, Tensor], conditions: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV of ``code``, without the noise that it leaves out."""
        scaled = self.scaler(conditions)
        code = codes["code"].view(-1, self.tokens, self.settings.code)
        return self._showers(self._flat(self._decode(code, scaled)), conditions)


class _Dictionary(nn.Module):
    """From codes h and conditions (N, tokens, code + K) to numbers D h + b(conditions); columns of D have unit length.

    Args:
        code: size of the code of a token.
        offset: the network b.
        used: which numbers of each kind of token are not always 0, (kinds, numbers); each kind has its own D.
    """

    used: Tensor

    def __init__(self, code: int, offset: MLP, used: Tensor) -> None:
        super().__init__()
        self.code = code
        self.elements = nn.Parameter(torch.randn(len(used), code, used.shape[1]))
        self.offset = offset
        self.register_buffer("used", used, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        code, conditions = tokens[..., : self.code], tokens[..., self.code :]
        elements = F.normalize(self.elements * self.used[:, None], dim=2)
        last = self.offset[-1]
        if isinstance(last, LayerLinear):
            sums = (code.transpose(0, 1) @ elements[last.kind]).transpose(0, 1)
        else:
            sums = code @ elements[0]
        numbers: Tensor = sums + self.offset(conditions)
        return numbers


class _Transposed(nn.Module):
    """From codes and conditions (N, tokens, code + K) to numbers, with the transposed weights of the encoder.

    Args:
        offset: network of the conditions, added to the numbers.
        widths: of the hidden layers, from the code.
    """

    def __init__(self, offset: MLP, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.offset = offset
        self.biases = nn.ParameterList(torch.zeros(width) for width in widths)
        self.activation = nn.SiLU()

    def forward(self, tokens: Tensor, encoder: MLP) -> Tensor:
        layers: list[Any] = [layer for layer in encoder if not isinstance(layer, nn.SiLU)]
        code = layers[-1].bias.shape[-1]
        x, conditions = tokens[..., :code], tokens[..., code:]
        for layer, bias in zip(layers[:0:-1], self.biases, strict=True):
            x = self.activation(F.linear(x, layer.weight.T, bias))
        first = layers[0]
        offset: Tensor = self.offset(conditions)
        if isinstance(first, LayerLinear):
            weight = first.weight[first.kind, : offset.shape[-1]]
            return offset + (x.transpose(0, 1) @ weight.transpose(1, 2)).transpose(0, 1)
        numbers: Tensor = offset + x @ first.weight[:, : offset.shape[-1]]
        return numbers


class _NumbersEncoder(nn.Module):
    """From numbers of showers and conditions (N, 1, 1 + L + V + K) to codes (N, 1, code); voxels by a grid network."""

    def __init__(
        self, network: NetworkSettings, grid: LayerGrid, conditions: int, settings: AutoencoderSettings
    ) -> None:
        super().__init__()
        numbers = 1 + grid.shape[0]
        self.parts = [numbers, grid.n_voxels, conditions]
        self.layers = grid
        width = settings.hidden[0] if settings.hidden else settings.code
        self.grid = GridEncoder(network, grid, numbers + conditions, width)
        self.activation = nn.SiLU()
        self.code = nn.Linear(width + numbers + conditions, settings.code)

    def forward(self, tokens: Tensor) -> Tensor:
        layers, voxels, conditions = torch.split(tokens[:, 0], self.parts, dim=1)
        context = torch.cat([layers, conditions], dim=1)
        hidden = self.activation(self.grid(self.layers(voxels)[:, None], context))
        code: Tensor = self.code(torch.cat([hidden, context], dim=1))
        return code[:, None]


class _NumbersDecoder(nn.Module):
    """From codes and conditions (N, 1, code + K) to numbers (N, 1, 1 + L + V); voxels by a grid network."""

    def __init__(
        self, network: NetworkSettings, grid: LayerGrid, conditions: int, settings: AutoencoderSettings
    ) -> None:
        super().__init__()
        self.parts = [settings.code, conditions]
        self.layers = MLP(settings.code + conditions, settings.hidden[:1], 1 + grid.shape[0])
        self.voxels = grid
        self.grid = GridDecoder(network, grid, settings.code, conditions)

    def forward(self, tokens: Tensor) -> Tensor:
        code, conditions = torch.split(tokens[:, 0], self.parts, dim=1)
        voxels = self.voxels.flat(self.grid(code, conditions)[:, 0])
        return torch.cat([self.layers(tokens[:, 0]), voxels], dim=1)[:, None]
