"""The near replica keeps the contract, over a real directory."""

import os
from dataclasses import dataclass

import pytest

from dirsync.replica.local import LocalReplica
from tests.replica.conformance import ReplicaConformance
from tests.replica.local_ground import LocalGround, local_ground


@dataclass
class People:
    """Somebody at work in the directory."""

    ground: LocalGround

    @property
    def replica(self) -> LocalReplica:
        return self.ground.replica

    def write(self, path: bytes, content: bytes) -> None:
        self.ground.write(path, content)

    def mkdir(self, path: bytes) -> None:
        os.mkdir(self.ground.path(path))

    def link(self, path: bytes, target: bytes) -> None:
        os.symlink(target, self.ground.path(path))

    def remove(self, path: bytes) -> None:
        os.unlink(self.ground.path(path))

    def chmod(self, path: bytes, mode: int) -> None:
        os.chmod(self.ground.path(path), mode)

    def read(self, path: bytes) -> bytes | None:
        full = self.ground.path(path)
        if os.path.islink(full):
            return os.readlink(full)
        return self.ground.read(path) if os.path.isfile(full) else None


class TestLocalReplica(ReplicaConformance):
    @pytest.fixture
    async def site(self, tmp_path):
        async with local_ground(tmp_path, is_started=False) as ground:
            yield People(ground)
