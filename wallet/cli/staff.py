"""``wallet staff``: the first administrators, and the end of anybody's access in an emergency."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.auth.staff_accounts import CODE_EXPIRES_H, NewMember, login_hash, suspend_member
from wallet.auth.staff_bootstrap import bootstrap_again, bootstrap_member
from wallet.auth.staff_queries import MEMBERS_SHOWN_MAX, list_members
from wallet.auth.staff_rules import Member, check_reason
from wallet.cli.shell import ORIGIN, JsonOption, audited, emit, read_id, shell_actor, with_engine
from wallet.core.clock import system_clock
from wallet.core.database import read, write
from wallet.core.ids import new_id, public_id
from wallet.core.runtime import Runtime
from wallet.ops.audit import Entry, append

T = TypeVar("T")

group = typer.Typer(no_args_is_help=True, help="Staff: the first administrators; who there is.")

StaffArgument = Annotated[str, typer.Argument(help="stf_ and 32 hex digits")]
NameArgument = Annotated[str, typer.Argument(help="What colleagues see")]
LoginOption = Annotated[str, typer.Option(help="Employee number; only a hash of it is kept")]
DepartmentOption = Annotated[str, typer.Option(help="A department of wallet/auth/roles.toml")]
RoleOption = Annotated[list[str], typer.Option("--role", help="A role of wallet/auth/roles.toml")]
ReasonOption = Annotated[str, typer.Option(help="Why, without names; kept for ever")]


@group.command("add")
def staff_add(
    name: NameArgument,
    *,
    login: LoginOption,
    role: RoleOption,
    department: DepartmentOption = "systems",
    as_json: JsonOption = False,
) -> None:
    """Add one of the first two administrators and print a code to enrol a passkey with.

    In a rehearsal anybody may be added so.
    """
    now_us = system_clock()
    staff_id = new_id(now_us=now_us)

    async def work(engine: AsyncEngine, runtime: Runtime) -> str:
        new = NewMember(
            id=staff_id,
            login_hash=login_hash(login, pepper=runtime.pepper),
            display_name=name.strip(),
            department=department,
            roles=frozenset(role),
        )
        add = partial(
            bootstrap_member,
            new=new,
            livemode=runtime.settings.livemode,
            pepper=runtime.pepper,
            now_us=now_us,
        )
        details = {"department": department, "roles": ",".join(sorted(role))}
        return await _noted(engine, "staff.bootstrap", add, public_id("stf", staff_id), details)

    code = with_engine(audited("staff.bootstrap", work))
    _tell_code(public_id("stf", staff_id), code, as_json=as_json)


@group.command("enrol")
def staff_enrol(staff_id: StaffArgument, *, as_json: JsonOption = False) -> None:
    """Void an administrator's passkeys and print a code for new ones, as for the first two."""
    parsed = read_id("stf", staff_id)

    async def work(engine: AsyncEngine, runtime: Runtime) -> str:
        again = partial(
            bootstrap_again,
            staff_id=parsed,
            livemode=runtime.settings.livemode,
            pepper=runtime.pepper,
            now_us=system_clock(),
        )
        return await _noted(engine, "staff.bootstrap_again", again, staff_id, {})

    _tell_code(staff_id, with_engine(audited("staff.bootstrap_again", work)), as_json=as_json)


@group.command("suspend")
def staff_suspend(
    staff_id: StaffArgument, *, reason: ReasonOption, as_json: JsonOption = False
) -> None:
    """Take all power from a colleague at once; giving it back takes two at the console."""
    parsed = read_id("stf", staff_id)

    async def work(engine: AsyncEngine, _: Runtime) -> bool:
        why = check_reason(reason)
        suspend = partial(
            suspend_member, staff_id=parsed, because="suspended", now_us=system_clock()
        )
        return await _noted(engine, "staff.suspend", suspend, staff_id, {}, reason=why)

    changed = with_engine(audited("staff.suspend", work))
    sentence = "Suspended." if changed else "Was suspended before."
    emit({"id": staff_id, "changed": changed}, sentence, as_json=as_json)


@group.command("list")
def staff_list(*, as_json: JsonOption = False) -> None:
    """List the staff with their roles, the first hundred of them."""

    async def work(engine: AsyncEngine, _: Runtime) -> list[Member]:
        async with read(engine) as connection:
            return await list_members(connection, after=None, limit=MEMBERS_SHOWN_MAX)

    members = with_engine(work)
    lines = [
        f"{public_id('stf', one.id)}  {one.state:9}  {one.department:10} "
        f" {', '.join(sorted(one.roles))}  {one.display_name}"
        for one in members
    ]
    value = [
        {
            "id": public_id("stf", one.id),
            "display_name": one.display_name,
            "department": one.department,
            "state": one.state,
            "roles": sorted(one.roles),
        }
        for one in members
    ]
    emit({"staff": value}, "\n".join(lines) or "Nobody yet.", as_json=as_json)


async def _noted(
    engine: AsyncEngine,
    action: str,
    verb: Callable[[AsyncConnection], Awaitable[T]],
    subject: str,
    details: Mapping[str, int | str],
    *,
    reason: str | None = None,
) -> T:
    """Run a verb in one transaction with its audit entry, and return what it returns."""
    entry = Entry(
        action=action,
        actor=shell_actor(),
        subject=subject,
        reason=reason,
        origin=ORIGIN,
        details=details,
    )

    async def whole(connection: AsyncConnection) -> T:
        result = await verb(connection)
        await append(connection, entry=entry, now_us=system_clock())
        return result

    return await write(engine, whole)


def _tell_code(staff_id: str, code: str, *, as_json: bool) -> None:
    sentence = (
        f"{code}\nfor {staff_id}, to enrol a passkey with at the staff console within"
        f" {CODE_EXPIRES_H} hours; it is shown this once."
    )
    emit({"id": staff_id, "enrolment_code": code}, sentence, as_json=as_json)
