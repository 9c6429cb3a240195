"""Loads the smallest LSM program through bcc, without kernel headers; prints what mkdir does before, under and after.

Of the kernel's headers bcc needs only that they exist: the program reads no kernel struct.
"""

import errno
import os
import tempfile
from pathlib import Path

PROGRAM = r"""
struct inode; struct dentry;
LSM_PROBE(inode_mkdir, struct inode *dir, struct dentry *dentry, int mode, int ret)
{
    char comm[16] = {};

    bpf_get_current_comm(comm, sizeof(comm));
    return ret ? ret : comm[0] == 'o' && comm[1] == 'f' && comm[2] == 'f' ? -1 : 0;
}
"""
KCONFIG = """
#define CONFIG_BPF_SYSCALL 1
#define PAGE_SIZE 4096
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(6, 1, 0)
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef signed char s8; typedef short s16; typedef int s32; typedef long long s64;
typedef u8 __u8; typedef u16 __u16; typedef u32 __u32; typedef u64 __u64;
typedef s8 __s8; typedef s16 __s16; typedef s32 __s32; typedef s64 __s64;
typedef u16 __be16; typedef u32 __be32; typedef u32 __wsum; typedef u64 __be64; typedef u16 __sum16;
typedef unsigned long size_t; typedef unsigned long uintptr_t; typedef int pid_t; typedef _Bool bool;
#define __aligned_u64 __u64 __attribute__((aligned(8)))
#define __always_inline inline __attribute__((always_inline))
"""
EMPTY = (
    *("linux/types.h", "linux/version.h", "linux/log2.h", "linux/bpf.h", "linux/bpf_common.h", "asm/page.h"),
    *("uapi/linux/bpf.h", "uapi/linux/if_packet.h", "linux/fs.h", "uapi/linux/ptrace.h", "linux/ptrace.h"),
)


def stub_headers(root: Path) -> None:
    """Lay out the tree that bcc looks for under ``BCC_KERNEL_SOURCE``."""
    for name in EMPTY:
        (root / "include" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "include" / name).touch()
    (root / "include/linux/kconfig.h").write_text(KCONFIG)


def mkdir_says() -> str:
    """What the kernel answers to the offender, whom the program knows by name: ``OK`` or the errno's name."""
    Path("/proc/self/comm").write_text("offender")
    try:
        os.rmdir(tempfile.mkdtemp())
    except OSError as e:
        return errno.errorcode[e.errno or 0]
    return "OK"


def main() -> None:
    """Print the three answers in one line."""
    with tempfile.TemporaryDirectory() as root:
        stub_headers(Path(root))
        os.environ["BCC_KERNEL_SOURCE"] = root
        from bcc import BPF  # noqa: PLC0415 - bcc reads the environment when it is imported

        before = mkdir_says()
        bpf = BPF(text=PROGRAM)
        under = mkdir_says()
        bpf.cleanup()
        print(before, under, mkdir_says())


if __name__ == "__main__":
    main()
