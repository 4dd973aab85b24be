"""`python deploy/lab/build.py`: build the lab's programs, once."""

from tillerman_lab.cli import build_command

if __name__ == "__main__":
    build_command()
