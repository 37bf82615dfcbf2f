"""The table of roles in the docs says who may call what, as the server decides it."""

from __future__ import annotations

import re
from pathlib import Path

from hashlists.access.model import Role
from matcher.service.roles import EVERYBODY, ROLES_OF

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def written():
    """Roles by method, as the rows of the table name both; `None` for who is not asked."""
    table = PAGE.read_text(encoding="utf-8").split("| role | may call |\n|---|---|\n")[1]
    found = {}
    same = set()
    for row in table.split("\n\n")[0].splitlines():
        who, calls = row.strip("| ").split(" | ")
        methods = set(re.findall(r"`([A-Z]\w+)`", calls))
        if "the same" in calls:
            methods |= same
        same = methods
        if "nobody" in who:
            roles = None
        elif who == "any":
            roles = set(Role)
            methods |= {"ServerReflectionInfo"} if "reflection" in calls else set()
        else:
            roles = {Role(name) for name in re.findall(r"`([a-z-]+)`", who)}
        for method in methods:
            found[method] = None if roles is None else found.get(method, set()) | roles
    return found


def test_the_table_is_what_is_enforced():
    enforced = {
        path.rpartition("/")[2]: roles if roles is EVERYBODY else set(roles)
        for path, roles in ROLES_OF.items()
        if roles is EVERYBODY or roles
    }
    assert written() == enforced
