"""Look-up of similar showers: binary codes of showers in an index, search by them, and showers that occur twice."""

from fastv.retrieval.building import Indexed as Indexed
from fastv.retrieval.building import index as index
from fastv.retrieval.looking import Found as Found
from fastv.retrieval.looking import Match as Match
from fastv.retrieval.looking import search as search
from fastv.retrieval.repeats import Duplicates as Duplicates
from fastv.retrieval.repeats import Pair as Pair
from fastv.retrieval.repeats import duplicates as duplicates

__all__ = ["Duplicates", "Found", "Indexed", "Match", "Pair", "duplicates", "index", "search"]
