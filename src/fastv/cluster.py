"""A Dask cluster: tasks for its workers, whose failures are errors of FastV."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, cast

from fastv._version import __version__
from fastv.errors import ClusterError, FastVError, MissingExtraError
from fastv.installation import how_to_install

ATTEMPTS = 3
"""Number of attempts to do a task."""
CONNECT_SECONDS = 20.0
"""Time in s within which a scheduler must answer."""


class Cluster:
    """The workers of a Dask cluster, on which the same version of FastV must be installed.

    Tasks are functions of text, numbers and bytes, and return text or bytes, so that Dask transfers nothing else.

    Args:
        address: address of the scheduler, such as ``tcp://host:8786``.
        failure: the exception of tasks that failed by themselves, which is raised too if workers die doing a task.

    Raises:
        ClusterError: the scheduler does not answer, or asks for a certificate that is not set.
        MissingExtraError: Dask is not installed.
    """

    def __init__(self, address: str, failure: type[Exception] = ClusterError) -> None:
        try:
            from distributed import Client
            from distributed.comm.addressing import get_address_host_port
            from distributed.security import Security
        except ImportError as error:
            msg = f"`scheduler` needs Dask; {how_to_install('cluster')}"
            raise MissingExtraError(msg) from error
        how = cast(Any, Security)().get_connection_args("client")
        if address.startswith("tls://") and how.get("ssl_context") is None:
            msg = (
                f"{address} asks for a certificate, and none is set: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, and "
                "..._TLS__CLIENT__KEY and ..._TLS__CLIENT__CERT, as for the scheduler"
            )
            raise ClusterError(msg)
        # A lost scheduler is reported as an error of FastV, not by a traceback from Dask.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            # A client that was given no address of a machine complains once more when it is forgotten.
            get_address_host_port(address if "://" in address else f"tcp://{address}", strict=True)
            client: Any = cast(Any, Client)(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            msg = f"no Dask scheduler answers at {address} ({_first_line(error)}); start one, or leave `scheduler` out"
            raise ClusterError(msg) from error
        self._client, self.address, self._failure = client, address, failure
        self._executor: Executor = self._client.get_executor(pure=False, retries=ATTEMPTS - 1)

    @property
    def workers(self) -> int:
        """Number of threads of the workers that are connected now."""
        return sum(self._client.nthreads().values())

    def shared(self, content: str | bytes) -> Any:
        """Text or bytes that many tasks take, sent to each worker once.

        Unlike scattered data, it is sent again if the worker that holds it is lost.
        """
        return self._client.submit(type(content), content, pure=False)

    def submit(self, unpack: Callable[[Any], Any], task: Callable[..., str | bytes], *arguments: Any) -> Future[Any]:
        """Submit a task, which is called with this version of FastV and the arguments, and unpack its result.

        The future raises errors of FastV and ``failure`` as they are, and any other as a ``ClusterError``.
        """
        translated: Future[Any] = Future()

        def finish(future: Future[Any]) -> None:
            if future.cancelled():
                msg = f"the scheduler {self.address} was lost; finished showers are kept, the same command continues"
                translated.set_exception(ClusterError(msg))
            elif (error := future.exception()) is None:
                translated.set_result(unpack(future.result()))
            elif isinstance(error, (FastVError, self._failure)):
                translated.set_exception(error)
            elif type(error).__name__ == "KilledWorker":
                translated.set_exception(self._failure("the workers of these showers died one after another"))
            else:
                msg = f"a worker of {self.address} failed: {type(error).__name__}: {_first_line(error)}"
                translated.set_exception(ClusterError(msg))

        self._executor.submit(task, __version__, *arguments).add_done_callback(finish)
        return translated

    def close(self) -> None:
        """Cancel unfinished tasks; workers finish those that they are running."""
        with suppress(Exception):  # the scheduler may be gone
            self._client.close(timeout=5)


def check_version(version: str) -> None:
    """Check on a worker that it has the version of FastV that sent a task.

    Raises:
        ClusterError: the versions differ.
    """
    if version != __version__:
        msg = f"{socket.gethostname()} has FastV {__version__}, this is FastV {version}; install the same on both"
        raise ClusterError(msg)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
