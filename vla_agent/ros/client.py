"""A client of a running graph for machines without the ``ros2`` command: ``python -m vla_agent.ros.client --help``."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from vla_agent.errors import NodeError, VlaAgentError
from vla_agent.ros.process.diagnostics_listener import DiagnosticsListener, observer_node
from vla_agent.ros.process.graph_plan import checked_namespace
from vla_agent.ros.runtime.instructions import invalid_reason

PROGRAM = "python -m vla_agent.ros.client"
DISCOVERY = 1.5  # seconds in which the nodes of a graph find this one
PATIENCE = 15.0  # seconds to wait for a node
OF_EVERY_NODE = ("/rosout", "/parameter_events")  # this client publishes them, too
DESCRIPTION = "Give instructions to a running graph, call its services and see its status, without the ros2 command."
EPILOG = f"""\
examples:
  {PROGRAM} instruct "put the red mug in the tray"
  {PROGRAM} instruct ""                         the policy stops, the robot rests
  {PROGRAM} call safety/estop                   stop and stay stopped
  {PROGRAM} call safety/reset                   leave the stop
  {PROGRAM} set sim_robot_node seed 4           then: call sim/reset lays out that scene
  {PROGRAM} status
  {PROGRAM} topics
  {PROGRAM} --namespace arm1 call safety/estop     of a graph that was started with --namespace arm1

It sees the graphs of this machine and of the same ROS_DOMAIN_ID.
exit codes: 0 done, 1 the node refused, 2 bad input, or nobody answers
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command of the client."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    instruct_parser = commands.add_parser("instruct", help="give the policy an instruction; an empty one stops it")
    instruct_parser.add_argument("text", metavar="TEXT")
    call_parser = commands.add_parser("call", help="call a service of the type std_srvs/Trigger")
    call_parser.add_argument("service", metavar="SERVICE", help="such as safety/reset, sim/reset, record/start")
    set_parser = commands.add_parser("set", help="set a parameter of a node")
    for name in ("node", "parameter", "value"):
        set_parser.add_argument(name, metavar=name.upper())
    commands.add_parser("status", help="print what each node reports on /diagnostics")
    commands.add_parser("topics", help="list topics with type, publishers and subscribers")
    parser.add_argument("--namespace", default="", metavar="NAME", help="of the graph's nodes, as for `vla-agent up`")
    args = parser.parse_args(argv)
    try:
        space = checked_namespace(args.namespace)
        with observer_node("vla_agent_client", namespace=space) as (node, spin):
            return COMMANDS[args.command](node, spin, args)
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def instruct(node: Any, spin: Any, args: argparse.Namespace) -> int:
    """Publish an instruction, and wait until the policy node has it."""
    from std_msgs.msg import String

    from vla_agent.ros.process.node_base import LATCHED, deliver

    if wrong := invalid_reason(args.text):
        raise NodeError(wrong, key="TEXT", remedy="give a shorter text of one line")
    publisher = node.create_publisher(String, "instruction", LATCHED)
    if not spin(lambda: node.count_subscribers("instruction") and publisher.get_subscription_count(), PATIENCE):
        raise _silent("a subscriber of the topic instruction")
    publisher.publish(String(data=args.text.strip()))
    deliver(publisher)
    print(f'given: "{args.text.strip()}"' if args.text.strip() else "given: no instruction, the robot rests")
    return 0


def call(node: Any, spin: Any, args: argparse.Namespace) -> int:
    """Call a Trigger service and print its answer."""
    from std_srvs.srv import Trigger

    answer = _ask(node, spin, Trigger, args.service, Trigger.Request())
    print(f"{'done' if answer.success else 'refused'}: {answer.message}")
    return 0 if answer.success else 1


def set_parameter(node: Any, spin: Any, args: argparse.Namespace) -> int:
    """Set a parameter of a running node; the value is read as YAML, as by ``ros2 param set``."""
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter
    from ruamel.yaml import YAML

    value = YAML(typ="safe").load(args.value)
    parameter = Parameter(args.parameter, value=args.value if isinstance(value, dict) else value).to_parameter_msg()
    request = SetParameters.Request(parameters=[parameter])
    (result,) = _ask(node, spin, SetParameters, f"{args.node}/set_parameters", request).results
    print(f"set: {args.node} {args.parameter} = {value}" if result.successful else f"refused: {result.reason}")
    return 0 if result.successful else 1


def status(node: Any, spin: Any, args: argparse.Namespace) -> int:
    """Print the newest status of every node."""
    listener = DiagnosticsListener(node)
    if not spin(lambda: listener.statuses, PATIENCE):
        raise _silent("a status on /diagnostics")
    spin(lambda: False, DISCOVERY)  # every node reports once a second
    for name, newest in sorted(listener.statuses.items()):
        print(f"{name}: {newest.message}")
        for key, value in newest.values.items():
            print(f"  {key}: {value}")
    return 0


def topics(node: Any, spin: Any, args: argparse.Namespace) -> int:
    """List the topics of the graph, once no more have been discovered for a while."""
    found: list[Any] = []
    since = time.monotonic()

    def counted() -> list[tuple[str, list[str], int, int]]:
        names = sorted(node.get_topic_names_and_types())
        return [(name, types, node.count_publishers(name), node.count_subscribers(name)) for name, types in names]

    def settled() -> bool:
        """A node is discovered before its topics: another's publisher has to be there."""
        nonlocal found, since
        now = counted()
        if now != found:
            found, since = now, time.monotonic()
        others = any(publishers for name, _, publishers, _ in found if name not in OF_EVERY_NODE)
        return others and time.monotonic() - since > DISCOVERY

    spin(settled, PATIENCE)
    for name, types, publishers, subscribers in counted():
        counts = f"{publishers} publishers, {subscribers} subscribers"
        print(f"{name:<36}{', '.join(types):<40}{counts}")
    return 0


def _ask(node: Any, spin: Any, kind: Any, service: str, request: Any) -> Any:
    client = node.create_client(kind, service)
    if not spin(client.service_is_ready, PATIENCE):
        raise _silent(f"the service {service}")
    future = client.call_async(request)
    if not spin(future.done, PATIENCE):
        raise _silent(f"an answer from {service}")
    return future.result()


def _silent(expected: str) -> NodeError:
    return NodeError(
        "no graph answers",
        expected=expected,
        found=f"none within {PATIENCE:g} s",
        remedy="start one on this machine: vla-agent up sim; check ROS_DOMAIN_ID",
    )


COMMANDS = {"instruct": instruct, "call": call, "set": set_parameter, "status": status, "topics": topics}


if __name__ == "__main__":
    sys.exit(main())
