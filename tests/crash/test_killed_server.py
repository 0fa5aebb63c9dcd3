"""kill -9 PostgreSQL itself: workers wait for it, and everything goes on where it was."""

from pgorch.embedded import EmbeddedServer
from tests.crash.conftest import Crew, kill_server


def test_the_server_is_killed_under_load_and_comes_back(own_server: EmbeddedServer, own_crew: Crew) -> None:
    nodes = ["step", "effect", "pay", {"id": "last", "function": "step"}]
    graph = own_crew.graph(nodes, ["step>effect", "effect>pay", "pay>last"])
    workers = own_crew.hire(2)
    runs = own_crew.start(graph, 60)
    own_crew.until_done(40)
    kill_server(own_server)
    own_server.start()
    own_crew.reconnect()
    own_crew.all_ended()
    assert {own_crew.run(run)["status"] for run in runs} == {"completed"}
    assert own_crew.value("select count(*) from payments") == 60
    assert all(worker.is_alive() for worker in workers)
