// Command gateway is the only door to the system. Settings: GATEWAY_*.
package main

import (
	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/services/gateway"
)

func main() { chassis.Main("gateway", gateway.Run) }
