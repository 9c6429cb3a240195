"""The machine is what the LSM tests need: a stock Debian kernel with BPF LSM, bcc, Docker, and no way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from .image import recipe
from .machine import Image, Machine, MachineError, Result, build

pytestmark = pytest.mark.timeout(600)  # the first test may build the image

TOUR = """
uname -rv >$RESULTS/kernel
cat /sys/kernel/security/lsm >$RESULTS/lsm
findmnt -rno TARGET,FSTYPE >$RESULTS/mounts
ls /sys/class/net >$RESULTS/links
.venv/bin/python -c 'import enforcer, pathlib; print(pathlib.Path(enforcer.__file__).parent.parent)' >$RESULTS/checkout
python3 tests/vm/guest/deny_mkdir.py >$RESULTS/mkdir
ls /sys/class/net
source tests/vm/guest/docker.sh
docker run --rm busybox:local /bin/echo a word from a container >$RESULTS/container
echo the tour ends
exit 7
"""


@pytest.fixture(scope="module")
def tour(machine: Machine) -> Result:
    """One boot that looks at everything."""
    return machine.run(TOUR, timeout_s=240)


def seen(tour: Result, name: str) -> str:
    """What the tour noted under a name; the whole output where it noted nothing."""
    return tour.files[name].decode().strip() if name in tour.files else pytest.fail(tour.output)


def test_exit_status_and_output_come_back(tour: Result) -> None:
    """A script's own exit status and what it printed are the result."""
    assert tour.exit_code == 7, tour.output
    assert tour.output.splitlines()[-1] == "the tour ends"


def test_kernel_is_stock_debian_with_bpf_lsm(tour: Result, image: Image) -> None:
    """Debian's 6.1 runs, and bpf is in its LSM list without a boot parameter."""
    assert seen(tour, "kernel").startswith(image.release)
    assert image.release.startswith("6.1.")
    assert "Debian" in seen(tour, "kernel")
    assert "bpf" in seen(tour, "lsm").split(",")


def test_kernel_file_systems_are_mounted(tour: Result) -> None:
    """cgroup v2 is unified, and what BPF needs is where systemd would mount it."""
    mounts = dict(line.split() for line in seen(tour, "mounts").splitlines())
    wanted = {
        "/sys/fs/cgroup": "cgroup2",
        "/sys/fs/bpf": "bpf",
        "/sys/kernel/tracing": "tracefs",
        "/sys/kernel/security": "securityfs",
    }
    assert wanted.items() <= mounts.items()


def test_there_is_no_network_device(tour: Result) -> None:
    """Nothing that runs in the machine can send a packet anywhere."""
    assert seen(tour, "links").split() == ["lo"]


def test_checkout_is_at_its_own_path(tour: Result) -> None:
    """The virtual environment works and imports this checkout, not an installed copy."""
    assert Path(seen(tour, "checkout")) == Path(__file__).parents[2]


def test_bcc_loads_an_lsm_program_that_denies(tour: Result) -> None:
    """bcc compiles without kernel headers, and the program refuses while it is attached and no longer."""
    assert seen(tour, "mkdir") == "OK EPERM OK"


def test_docker_runs_a_container(tour: Result) -> None:
    """The machine's own engine starts and runs an imported image."""
    assert seen(tour, "container") == "a word from a container"


def test_kernel_parameter_takes_bpf_out_of_the_lsm_list(machine: Machine) -> None:
    """The host where BPF LSM programs load and never run, for which fmod_ret exists, can be had."""
    result = machine.run(
        "cat /sys/kernel/security/lsm; echo; python3 tests/vm/guest/deny_mkdir.py",
        cmdline="lsm=lockdown,capability,landlock,yama",
        timeout_s=120,
    )
    assert result.output.split("\n")[:2] == ["lockdown,capability,landlock,yama", "OK OK OK"]


def test_a_kernel_that_panics_is_an_error_with_its_console(machine: Machine) -> None:
    """A crash is never read as a result."""
    with pytest.raises(MachineError, match=r"(?s)before its script had ended.*Kernel panic"):
        machine.run("echo c >/proc/sysrq-trigger", timeout_s=120)


def test_a_machine_that_does_not_end_is_ended(machine: Machine) -> None:
    """The bound holds, and the emulator is gone when the error arrives (its drives could not be removed otherwise)."""
    with pytest.raises(MachineError, match="still running after 1 s"):
        machine.run("sleep infinity", timeout_s=1)


def test_missing_packages_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the Debian packages the tests fail, and say what installs them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match=r"mmdebstrap.*run `make install`"):
        build(tmp_path / "cache")


def test_a_broken_build_leaves_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that fails, and the rest of one that was killed, are gone; nothing looks like an image."""
    broken = tmp_path / "bin/mmdebstrap"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho mirror is down >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:/usr/sbin:/usr/bin")
    (tmp_path / "cache/partial-killed/tree").mkdir(parents=True)
    with pytest.raises(MachineError, match="mirror is down"):
        build(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_a_whole_image_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of the current recipe is not built a second time."""
    (tmp_path / recipe()).mkdir()
    (tmp_path / recipe() / "release").write_text("6.1.0-x")
    monkeypatch.setattr("subprocess.run", lambda *_args, **_kwargs: pytest.fail("something was built"))
    assert build(tmp_path).release == "6.1.0-x"
