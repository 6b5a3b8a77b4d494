"""Look-up of similar showers: binary codes of showers in an index, and search by them."""

from fastv.retrieval.building import Indexed as Indexed
from fastv.retrieval.building import index as index
from fastv.retrieval.looking import Found as Found
from fastv.retrieval.looking import Match as Match
from fastv.retrieval.looking import search as search

__all__ = ["Found", "Indexed", "Match", "index", "search"]
