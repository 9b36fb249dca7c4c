// Fantail is an MQTT broker and its tools in one program.
package main

import (
	"os"

	"github.com/fantail-mqtt/fantail/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
