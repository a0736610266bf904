"""`python -m app`: see `app.command`."""

import signal


def main() -> None:
    """Run the command line; an interrupt while it is still being imported ends it silently."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from app.command import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run(prog_name="python -m app")


if __name__ == "__main__":
    main()
