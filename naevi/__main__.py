"""`python -m naevi …`: what people run beside the pipeline; `make` has a target for each."""

import argparse

from naevi import demo, refusal, results


def main() -> None:
    """Read the command line and run what it names."""
    parser = argparse.ArgumentParser(prog="python -m naevi", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="run the whole pipeline on phantoms, in .demo/")
    result = commands.add_parser("result", help="run an experiment and keep its figures under reports/results/NAME")
    result.add_argument("name")
    result.add_argument("-S", "--set-param", action="append", default=[], metavar="PARAM=VALUE")
    commands.add_parser("table", help="write the table of results into the README")
    arguments = parser.parse_args()
    if arguments.command == "demo":
        demo.main()
    elif arguments.command == "result":
        results.publish(arguments.name, arguments.set_param)
    else:
        results.write_table()


if __name__ == "__main__":
    refusal.run(main)
