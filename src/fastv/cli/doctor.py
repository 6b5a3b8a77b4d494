"""``fastv doctor``: list what is installed, what it allows, and how to install the rest."""

from __future__ import annotations

import argparse
from typing import Any

FUNCTION = "fastv.doctor.examine"


def add_parser(verbs: Any) -> None:
    """Describe the options of ``fastv doctor``."""
    parser = verbs.add_parser(
        "doctor",
        help="list what is installed, which Geant4 physics it allows, and how to install the rest",
        description="List what is installed, which data sets of Geant4 are present and complete, which physics they "
        "allow, and the command that installs the rest.",
    )
    parser.add_argument("--json", action="store_true", help="print machine-readable results")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print tables, or JSON."""
    import json

    from fastv.doctor import examine
    from fastv.installation import how_to_install

    found = examine()
    if options.json:
        print(json.dumps(found))
        return
    processors, torch = found["processors"], found["torch"]
    memory = "" if found["memory_gb"] is None else f", {found['memory_gb']} GB of memory"
    rows = {
        "FastV": found["fastv"],
        "Python": found["python"],
        "system": found["platform"],
        "processors": f"{processors['usable']} of {processors['all']} usable{memory}",
        "free disk": f"{found['free_disk_gb']} GB in the current folder",
        "torch": f"{torch['version']}: {', '.join(torch['devices'])}",
    }
    for extra, packages in found["extras"].items():
        missing = [name for name, version in packages.items() if version is None]
        there = ", ".join(f"{name} {version}" for name, version in packages.items() if version is not None)
        wanted = f"missing: {', '.join(missing)}; {how_to_install(extra)}" if missing else ""
        rows[f"[{extra}]"] = "; ".join(filter(None, (there, wanted)))
    _print_geant4(rows, found["geant4"])


def _print_geant4(rows: dict[str, str], geant4: dict[str, Any]) -> None:
    if geant4["version"] is None:
        rows["Geant4"] = geant4["problem"]
        _print_rows(rows)
        return
    rows["Geant4"] = f"{geant4['version']} (calzone {geant4['calzone']})"
    rows["data sets"] = f"{geant4['folder']} ({'set by ' if geant4['told_by'] != 'calzone' else ''}{geant4['told_by']})"
    for name in geant4["overrides"]:
        rows[name] = "is set, but fastv simulate does not use it: all data sets come from the folder above"
    if runs := geant4["runs"]:
        rows["one shower"] = (
            runs.get("problem") or f"{runs['cpu_ms_per_gev']} ms CPU/GeV, {runs['seconds']} s including start-up"
        )
    _print_rows(rows)
    print()
    for each in geant4["data_sets"]:
        others = f" (found: {', '.join(each['other_versions'])})" if each["other_versions"] else ""
        name = f"{each['name']}{each['version'] or ''}"
        print(f"{name:<24}{each['state'] + others:<10}  {each['contents']}")
    print()
    for each in geant4["physics"]:
        lacking = list(dict.fromkeys(f"{one['data_set']} is {one['state']}" for one in each["lacking"]))
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        verdict = f"no: {', '.join(lacking[:3])}{more}" if lacking else each["particles"]
        print(f"{each['name']:<24}{verdict}")
    if geant4["command"]:
        print(f"\nto install the rest: {geant4['command']}")


def _print_rows(rows: dict[str, str]) -> None:
    for name, text in rows.items():
        print(f"{name:<24}{text}")
