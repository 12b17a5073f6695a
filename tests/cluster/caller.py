"""grpcio's client on a node: calls the health check again and again, and prints as JSON which Pods answered how often."""

import json
import sys
from collections import Counter

from tests.peers.calls import caller, pairs


def main(target: str, calls: int, policy: str) -> None:
    """
    Args:
        policy: of gRPC's load balancing; round_robin begins with those that are connected, so it waits for three.
    """
    config = json.dumps({"loadBalancingConfig": [{policy: {}}]})
    with caller(target, service_config=config) as channel:

        def answers() -> str:
            _, call = channel.call()
            return pairs(call.initial_metadata())["x-pod-name"]

        seen = {answers()}
        while policy == "round_robin" and len(seen) < 3:
            seen.add(answers())
        print(json.dumps(Counter(answers() for _ in range(calls))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
