"""A system-call deny list for boxes: what reaches other namespaces, the kernel's configuration, or pid 1.

Namespaces and dropped capabilities already refuse most of it; the list shrinks the kernel surface that code under
optimisation can try. Numbers are those of x86-64 and aarch64; `supported` says whether this machine is one of them.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct

from repodojo.sandbox.local import syscalls

_DENIED: dict[str, tuple[int, int]] = {  # name: (x86-64, aarch64); -1 where it does not exist
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "quotactl": (179, 60),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "memfd_secret": (447, 447),
    # memory that belongs to no process, so that neither a limit nor the watchdog would see it
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "msgget": (68, 186),
}
# column, audit architecture, and the calls that are judged by an argument: clone, socket, prlimit64
_MACHINES = {"x86_64": (0, 0xC000003E, 56, 41, 302), "aarch64": (1, 0xC00000B7, 220, 198, 261)}
_CLONE3 = 435
_NEW_NAMESPACE = 0x7E020000
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6: AF_VSOCK would leave the network namespace
_X32 = 0x40000000

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENT_0 = 0, 4, 16
_PR_SET_SECCOMP, _FILTER = 22, 2


def supported() -> bool:
    """Whether the table covers this architecture."""
    return os.uname().machine in _MACHINES


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


@functools.cache
def program(machine: str) -> bytes:
    """The filter as BPF instructions of 8 bytes each."""
    column, architecture, clone, socket, prlimit = _MACHINES[machine]
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_JUMP_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_JUMP_AT_LEAST, _X32, 0, 1),
        _refuse(errno.EPERM),
        # clone3 hides its flags behind a pointer; ENOSYS makes libc fall back to clone
        _step(_JUMP_EQUAL, _CLONE3, 0, 1),
        _refuse(errno.ENOSYS),
        _step(_JUMP_EQUAL, clone, 0, 4),
        _step(_LOAD, _ARGUMENT_0),
        _step(_JUMP_ANY_BIT, _NEW_NAMESPACE, 0, 1),
        _refuse(errno.EPERM),
        _step(_RETURN, _ALLOW),
        _step(_JUMP_EQUAL, socket, 0, 6),
        _step(_LOAD, _ARGUMENT_0),
        *(_step(_JUMP_EQUAL, family, 3 - i, 0) for i, family in enumerate(_FAMILIES)),
        _refuse(errno.EAFNOSUPPORT),
        _step(_RETURN, _ALLOW),
        # a job could starve pid 1 of descriptors, and its death would look like an outage
        _step(_JUMP_EQUAL, prlimit, 0, 4),
        _step(_LOAD, _ARGUMENT_0),
        _step(_JUMP_EQUAL, 0, 1, 0),
        _refuse(errno.EPERM),
        _step(_RETURN, _ALLOW),
    ]
    for numbers in _DENIED.values():
        if numbers[column] >= 0:
            steps += [_step(_JUMP_EQUAL, numbers[column], 0, 1), _refuse(errno.EPERM)]
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def install(steps: bytes) -> None:
    """Put this process and all it starts under the filter, for good. Needs no_new_privs."""
    buffer = ctypes.create_string_buffer(steps, len(steps))
    block = _Filter(len(steps) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    syscalls.prctl_pointer(_PR_SET_SECCOMP, _FILTER, ctypes.cast(ctypes.pointer(block), ctypes.c_void_p))
