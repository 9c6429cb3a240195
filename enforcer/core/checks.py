"""The checks of a container's posture, by the names that findings, the policy's ``accept`` and metrics have for them."""

from __future__ import annotations

import enum


class Check(enum.StrEnum):
    """Names are a contract: dashboards and policies hold them. What each looks at stands in ``posture.table``."""

    EXISTENCE = "container-existence"
    DATA_VOLUME = "data-volume"
    SEGMENTATION = "network-segmentation"
    HEALTH = "health"
    MEMORY_LIMIT = "memory-limit"
    CPU_LIMIT = "cpu-limit"
    PIDS_LIMIT = "pids-limit"
    USER = "user"
    READ_ONLY_ROOT = "read-only-root"
    NO_NEW_PRIVILEGES = "no-new-privileges"
    CAPABILITY_DROP = "capability-drop"
    ADDED_CAPABILITIES = "added-capabilities"
    SECCOMP = "seccomp"
    APPARMOR = "apparmor"
    PRIVILEGED = "privileged"
    HOST_NETWORK = "host-network"
    HOST_PID = "host-pid"
    HOST_IPC = "host-ipc"
    HOST_UTS = "host-uts"
    HOST_USERNS = "host-userns"
    VOLUME_MOUNTS = "volume-mounts"
    VOLUME_NAME = "volume-name"
    VOLUME_OWNER = "volume-owner"
    VOLUME_SHARED = "volume-shared"
    DATA_WRITE = "data-write"
    CONFIG_WRITE = "config-write"
    DOCKER_SOCKET = "docker-socket"
    PUBLISHED_PORTS = "published-ports"
    IMAGE_TAG = "image-tag"
