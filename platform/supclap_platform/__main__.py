"""`python -m supclap_platform`: the command line where no script is installed, as in a Ray job."""

from supclap_platform.cli import main

main()
