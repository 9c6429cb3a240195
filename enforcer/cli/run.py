"""``enforcer run``: the agent in the foreground."""

from __future__ import annotations

import gc
import logging
import os
import sys
from dataclasses import fields
from pathlib import Path

import click

from enforcer import settings as defaults
from enforcer.cli.quantity import AGE, SIZE
from enforcer.core.model import Mode
from enforcer.settings import Limits, Settings

PATH = click.Path(path_type=Path)


class Lines(logging.Formatter):
    """One line a message, key=value after it: readable, and a log shipper takes it apart."""

    STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record; control characters are escaped."""
        fields = {k: v for k, v in vars(record).items() if k not in self.STANDARD}
        text = " ".join([record.getMessage(), *(f"{k}={v}" for k, v in fields.items())])
        safe = text.encode("unicode_escape", "backslashreplace").decode() if not text.isprintable() else text
        line = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')} {record.levelname.lower()} {record.name}: {safe}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def start_logging(level: int = logging.INFO) -> None:
    """Everything that the agent has to say goes to standard error, where systemd's journal takes it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


@click.command("run")
@click.option(
    "--policy", type=PATH, default=defaults.POLICY, show_default=True, help="Policy file, or directory of them."
)
@click.option("--journal", type=PATH, default=defaults.JOURNAL, show_default=True, help="Directory of the event log.")
@click.option(
    "--segment-size",
    type=SIZE,
    default="64M",
    show_default=True,
    help="A file of the event log is complete at this size.",
)
@click.option("--segment-age", type=AGE, default="1d", show_default=True, help="And at this age.")
@click.option(
    "--retain-size",
    type=SIZE,
    default="4G",
    show_default=True,
    help="The oldest of the event log goes beyond this size.",
)
@click.option("--retain-age", type=AGE, default="90d", show_default=True, help="And at this age.")
@click.option("--listen", default=defaults.LISTEN, show_default=True, help="Where Prometheus scrapes: ADDR:PORT.")
@click.option("--mode", type=click.Choice(["enforce", "monitor"]), help="Override the policy's mode.")
@click.option(
    "--mechanism",
    type=click.Choice(["lsm", "fmod_ret", "tracepoint", "audit"]),
    default=None,
    help="Use this mechanism for files, not the best one (for tests).",
)
@click.option(
    "--require", type=click.Choice(["deny"]), help="Refuse to start unless every hook refuses before the fact."
)
@click.option(
    "--record",
    type=click.Choice(["accesses"]),
    help="Journal what is allowed, too, summed up: what `learn` makes a policy from, and `replay` tries a stricter one on.",
)
@click.option(
    "--state", type=PATH, default=defaults.STATE, show_default=True, help="Directory of what outlives the agent."
)
@click.option(
    "--run", "run_", type=PATH, default=defaults.RUN, show_default=True, help="Directory of the control socket."
)
@click.option("--pins", type=PATH, default=defaults.PINS, show_default=True, help="Directory of pins, on a bpffs.")
@click.option("--cgroup", default="", help="The cgroup above the containers, if not Docker's default.")
@click.option(
    "--records-per-second",
    type=click.IntRange(0, 1_000_000),
    default=defaults.RECORDS,
    show_default=True,
    help="Records of one container in the log, and as many of repeats; the rest is counted. 0: all.",
)
@click.option("--tls-cert", default="", help="PEM certificate for the scrape's HTTPS.")
@click.option("--tls-key", default="", help="PEM key for the scrape's HTTPS.")
@click.option("--tls-client-ca", default="", help="Serve only clients with a certificate of this authority.")
def run_command(**options: object) -> None:
    """Put the policy in force and keep it so, in the foreground, until SIGTERM.

    What it has put in force stays in force when it ends: `enforcer unload` removes it. SIGHUP, or a changed policy file,
    loads the policy anew. Docker's address is taken from DOCKER_HOST.
    """
    gc.disable()  # until the agent is in force: what a start makes is kept, and looking for garbage in it is a tenth of the start
    from enforcer import app  # noqa: PLC0415 -- other commands need not carry the agent
    from enforcer.edges.http import Tls  # noqa: PLC0415 -- the same

    start_logging()
    certificate, key, authority = (str(options.pop(f"tls_{name}")) for name in ("cert", "key", "client_ca"))
    if bool(certificate) != bool(key) or (authority and not certificate):
        raise click.UsageError("--tls-cert and --tls-key go together, and --tls-client-ca needs both")
    mode = options.pop("mode")
    limits = Limits(**{field.name: options.pop(field.name) for field in fields(Limits)})  # type: ignore[arg-type]  # the same
    settings = Settings(
        limits=limits,
        mode=Mode[str(mode).upper()] if mode else None,
        mechanism=str(options.pop("mechanism") or ""),
        require_deny=options.pop("require") == "deny",
        record_accesses=options.pop("record") == "accesses",
        run=Path(str(options.pop("run_"))),
        docker=os.environ.get("DOCKER_HOST", Settings.docker),
        **options,  # type: ignore[arg-type]  # click has made each what its option says
    )
    app.run(settings, Tls(certificate, key, authority) if certificate else None)
