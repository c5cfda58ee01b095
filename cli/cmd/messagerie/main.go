// Command messagerie is for operators: see `messagerie --help`.
package main

import (
	"os"

	"github.com/ma-messagerie/messagerie/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
