"""`python deploy/lab/run.py`: start the lab and run it until Ctrl-C."""

from tillerman_lab.cli import run_command

if __name__ == "__main__":
    run_command()
