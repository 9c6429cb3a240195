"""The command line: thin commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from enforcer.cli.ondemand import OnDemand
from enforcer.errors import EnforcerError, PolicyError

COMMANDS = {
    "run": "enforcer.cli.run:run_command",
    "check": "enforcer.cli.policy:check_command",
    "plan": "enforcer.cli.policy:plan_command",
    "matrix": "enforcer.cli.policy:matrix_command",
    "explain": "enforcer.cli.policy:explain_command",
    "doctor": "enforcer.cli.host:doctor_command",
    "status": "enforcer.cli.host:status_command",
    "block": "enforcer.cli.operate:block_command",
    "unblock": "enforcer.cli.operate:unblock_command",
    "quarantine": "enforcer.cli.operate:quarantine_command",
    "release": "enforcer.cli.operate:release_command",
    "selftest": "enforcer.cli.selftest:selftest_command",
    "unload": "enforcer.cli.host:unload_command",
    "log": "enforcer.cli.log:log_group",
    "replay": "enforcer.cli.replay:replay_command",
    "export": "enforcer.cli.export:export_command",
    "learn": "enforcer.cli.learn:learn_command",
    "verify": "enforcer.cli.verify:verify_group",
    "volumes": "enforcer.cli.volumes:volumes_group",
    "backup": "enforcer.cli.backup:backup_group",
    "restore": "enforcer.cli.backup:restore_command",
    "diagnose": "enforcer.cli.diagnose:diagnose_command",
    "compose": "enforcer.cli.compose:compose_group",
}


@click.command(cls=OnDemand, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="enforcer")
def cli() -> None:
    """Runtime isolation for Docker hosts: who may touch which data, and who may connect where, held in the kernel.

    Exit status: 0 fine, 1 violations or failed checks, 2 bad policy or usage, 3 the host cannot, 4 a neighbour failed.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Every error that we raise ends here, as one line on standard error and its exit code."""
    try:
        code = cli.main(arguments, standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as e:
        e.show()
        sys.exit(2)
    except EnforcerError as e:
        # a mistake in a policy begins with its place, so that editors find it
        print(str(e) if isinstance(e, PolicyError) else f"enforcer: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
