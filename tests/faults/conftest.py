from tests.crash.conftest import crew, own_crew, own_server

__all__ = ["crew", "own_crew", "own_server"]
