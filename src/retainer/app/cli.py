"""The ``retainer`` command. Each command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from retainer.app.backtesting.commands import register as register_backtesting

app = typer.Typer(
    name="retainer",
    help="Agents in your service, on your own machine: one that you text, one that trades.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
phone = typer.Typer(no_args_is_help=True, help="Pair and list the phones that may talk to retainer.")
app.add_typer(phone, name="phone")
mandate = typer.Typer(no_args_is_help=True, help="What the strategies may do without asking: list, sign, revoke.")
app.add_typer(mandate, name="mandate")
audit = typer.Typer(no_args_is_help=True, help="Check the record of decisions, orders and approvals, or anchor it.")
app.add_typer(audit, name="audit")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of words.")]


def _settings(**overrides: Any) -> Any:
    from retainer.app.config import load_settings
    from retainer.app.logs import quiet_logging

    quiet_logging()
    return load_settings(**overrides)


@app.command()
def up(
    chat: Annotated[bool, typer.Option(help="Open the chat when there is a terminal.")] = True,
) -> None:
    """Start the agents; with a terminal, open the chat too. Without one, run on as a service."""
    from retainer.app.run import run_up

    raise typer.Exit(run_up(_settings(), interactive=chat and sys.stdin.isatty() and sys.stdout.isatty()))


@app.command()
def chat(
    plain: Annotated[bool, typer.Option(help="Read lines from standard input, print replies; for pipes.")] = False,
) -> None:
    """Talk to a service that is already running."""
    from retainer.app.attach import run_chat

    raise typer.Exit(run_chat(_settings(), plain=plain or not sys.stdin.isatty()))


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option(help="Where the demo keeps its data; a fresh one by default.")] = None,
) -> None:
    """The tour, scripted: a real Telegram bridge against the test suite's Bot API server; ends by itself."""
    from retainer.app.demo import run_demo

    raise typer.Exit(run_demo(folder))


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """What is running, what waits, what the account holds."""
    from retainer.app.inspect import show_status

    raise typer.Exit(show_status(_settings(), as_json=as_json))


@app.command()
def log(
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="How many events.")] = 20,
    lane: Annotated[str | None, typer.Option(help="Only this lane, e.g. account:paper.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """The latest events and what came of them, newest last."""
    from retainer.app.inspect import show_log

    raise typer.Exit(show_log(_settings(), count=count, lane=lane, as_json=as_json))


@app.command()
def explain(
    event: Annotated[int, typer.Argument(help="Number of the event, as `retainer log` shows it.")],
    as_json: JsonFlag = False,
) -> None:
    """Everything recorded about one event: steps, checks, effects, outcomes, what it caused."""
    from retainer.app.inspect import show_explain

    raise typer.Exit(show_explain(_settings(), event, as_json=as_json))


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Check this machine and the data folder; each problem comes with its fix."""
    from retainer.app.doctor import show_doctor

    raise typer.Exit(show_doctor(as_json=as_json))


@app.command()
def ledger(
    account: Annotated[str, typer.Option(help="The account.")] = "paper",
    as_json: JsonFlag = False,
) -> None:
    """The account's exact ledger: deposits, fills, fees, dividends, day by day."""
    from retainer.app.inspect import show_ledger

    raise typer.Exit(show_ledger(_settings(), account, as_json=as_json))


@app.command()
def replay(
    account: Annotated[str, typer.Option(help="The account.")] = "paper",
    broker: Annotated[
        Path | None, typer.Option(help="CSV of a broker's fills to compare: order_id,symbol,side,quantity,price,fee.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Fold the account's recorded events again and ask its strategy again; 1 if anything differs."""
    from retainer.app.replaying import show_replay

    raise typer.Exit(show_replay(_settings(), account, broker, as_json=as_json))


@app.command()
def stop(
    everything: Annotated[bool, typer.Option("--all", help="Cancel protective orders too.")] = False,
) -> None:
    """Stop trading now: no new order, open orders that add risk are cancelled. Holds over a restart."""
    from retainer.app.control import run_control

    raise typer.Exit(run_control(_settings(), "stop all" if everything else "stop"))


@app.command()
def pause() -> None:
    """Block new entries; positions are still managed."""
    from retainer.app.control import run_control

    raise typer.Exit(run_control(_settings(), "pause"))


@app.command()
def resume() -> None:
    """Lift stop and pause."""
    from retainer.app.control import run_control

    raise typer.Exit(run_control(_settings(), "resume"))


@app.command()
def fetch(
    model: Annotated[str | None, typer.Argument(help="Model id, `default` or `small`.")] = None,
    for_tests: Annotated[
        bool, typer.Option("--for-tests", help="The small model and the sample bars: all that the tests need.")
    ] = False,
) -> None:
    """Fetch and verify model weights and sample bars; what is there already is not fetched again."""
    from retainer.app.fetch import run_fetch

    raise typer.Exit(run_fetch(_settings(), model, for_tests=for_tests))


@app.command()
def backup(
    show: Annotated[bool, typer.Option("--list", help="List the backups instead of making one.")] = False,
    drill: Annotated[
        bool, typer.Option("--drill", help="Restore the newest one into a temporary place and check it.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Back everything up now, also while the service runs; or list the backups, or try one out."""
    from retainer.app.operations.commands import run_backup

    raise typer.Exit(run_backup(_settings(), show=show, drill=drill, as_json=as_json))


@app.command()
def restore(
    name: Annotated[str | None, typer.Argument(help="Name of a backup, a path to one, or `latest`.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="The restored records are right: go on from them.")
    ] = False,
    send: Annotated[
        bool,
        typer.Option("--send", help="With --confirm: send what was pending when the backup was made. Never orders."),
    ] = False,
) -> None:
    """Put a backup in the place of the present records, which are kept; nothing pending is sent until --confirm."""
    from retainer.app.operations.commands import run_confirm, run_restore

    if confirm:
        raise typer.Exit(run_confirm(_settings(), send=send, yes=yes))
    raise typer.Exit(run_restore(_settings(), name, yes=yes))


@app.command()
def health(as_json: JsonFlag = False) -> None:
    """Whether the service on this folder is alive: 0 if it is, 1 if not. For container and cluster checks."""
    from retainer.app.operations.commands import show_health

    raise typer.Exit(show_health(_settings(), as_json=as_json))


@phone.command("telegram")
def phone_telegram(
    scope: Annotated[str, typer.Option(help="What the phone may do: chat, propose, trade or admin.")] = "trade",
) -> None:
    """Connect a Telegram bot and pair your phone: paste the token, scan the code."""
    from retainer.app.phones import pair_telegram

    raise typer.Exit(pair_telegram(_settings(), scope))


@phone.command("list")
def phone_list(as_json: JsonFlag = False) -> None:
    """Who may talk to retainer, from where, with which scope."""
    from retainer.app.phones import show_phones

    raise typer.Exit(show_phones(_settings(), as_json=as_json))


@phone.command("revoke")
def phone_revoke(
    channel: Annotated[str, typer.Argument(help="For example telegram.")],
    stable_id: Annotated[str, typer.Argument(help="The id that `retainer phone list` shows.")],
) -> None:
    """Unpair a phone at once; what it was asked to approve dies with it."""
    from retainer.app.phones import revoke_phone

    raise typer.Exit(revoke_phone(_settings(), channel, stable_id))


@mandate.command("list")
def mandate_list(
    ended: Annotated[bool, typer.Option("--all", help="Those that ended too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """The mandates in force."""
    from retainer.app.mandates import show_mandates

    raise typer.Exit(show_mandates(_settings(), ended=ended, as_json=as_json))


@mandate.command("sign")
def mandate_sign(
    account: Annotated[str | None, typer.Option(help="The account; the configured one by default.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Name of the strategy; the configured one by default.")] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="What it may trade; may be given more than once.")] = None,
    order_cap: Annotated[
        list[str] | None,
        typer.Option(help="Most that an order may cost: dollars (2500), a share of equity (30%), or both."),
    ] = None,
    daily_cap: Annotated[list[str] | None, typer.Option(help="Most that a day's orders may cost together.")] = None,
    max_loss: Annotated[list[str] | None, typer.Option(help="Loss since signing at which it ends.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How long it lasts.")] = 365,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask. Real money takes an authenticator's code anyway.")
    ] = False,
) -> None:
    """Let a strategy order by itself, within these caps; its earlier mandate ends. Without caps: as at first start."""
    from retainer.app.mandates import sign_mandate

    raise typer.Exit(
        sign_mandate(
            _settings(),
            account=account,
            strategy=strategy,
            symbols=symbol or [],
            order_cap=order_cap or [],
            daily_cap=daily_cap or [],
            max_loss=max_loss or [],
            days=days,
            yes=yes,
        )
    )


@mandate.command("revoke")
def mandate_revoke(
    mandate_id: Annotated[str, typer.Argument(help="The id that `retainer mandate list` shows.")],
) -> None:
    """End a mandate at once: its strategy asks for every order from now on."""
    from retainer.app.mandates import revoke_mandate

    raise typer.Exit(revoke_mandate(_settings(), mandate_id))


@app.command("totp")
def set_up_totp(
    remove: Annotated[bool, typer.Option("--remove", help="Take the authenticator away instead.")] = False,
) -> None:
    """Set up the authenticator app whose codes approve limits, mandates and arming; only on this machine."""
    from retainer.app.totp_setup import run_totp

    raise typer.Exit(run_totp(_settings(), remove=remove))


@app.command()
def erase(
    person: Annotated[list[str] | None, typer.Option(help="All that was said by and to this person.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Every record that holds these words.")] = None,
    text_file: Annotated[Path | None, typer.Option(help="A file with such words, one text per line.")] = None,
    conversation: Annotated[list[str] | None, typer.Option(help="A whole conversation, e.g. telegram:42.")] = None,
    before: Annotated[str | None, typer.Option(help="All that was said before this date.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase what people said, from every file and backup, also while the service runs. It cannot be undone."""
    from retainer.app.erase_command import run_erase

    raise typer.Exit(
        run_erase(
            _settings(),
            persons=person or [],
            texts=text or [],
            text_file=text_file,
            conversations=conversation or [],
            before=before,
            yes=yes,
        )
    )


@audit.command("verify")
def audit_verify(
    anchor: Annotated[
        list[str] | None, typer.Option("--anchor", help="COUNT:HEAD from a message; may be given more than once.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Whether any entry was changed, removed, cut off or rewritten; 1 if so."""
    from retainer.app.audit_commands import run_verify

    raise typer.Exit(run_verify(_settings(), anchor or [], as_json=as_json))


@audit.command("anchor")
def audit_anchor() -> None:
    """Make an anchor now and print it, to be kept elsewhere; the service makes one a day and texts it to you."""
    from retainer.app.audit_commands import run_anchor

    raise typer.Exit(run_anchor(_settings()))


@app.command()
def version() -> None:
    """Print the version."""
    from retainer import __version__

    typer.echo(f"retainer {__version__}")


register_backtesting(app)


def main() -> None:
    """Entry point: errors made for people are shown as a sentence and its next step, with exit code 2."""
    from retainer.core.errors import RetainerError

    os.umask(0o077)  # whatever a command writes is its owner's alone
    try:
        app()
    except RetainerError as error:
        typer.echo(f"retainer: {error.message}", err=True)
        if error.hint:
            typer.echo(f"  -> {error.hint}", err=True)
        sys.exit(2)
    except OSError as error:
        if not error.filename:
            raise
        typer.echo(f"retainer: {error.filename} cannot be used: {error.strerror}.", err=True)
        typer.echo("  -> Mend its permissions or its disk. `retainer doctor` checks the rest.", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
