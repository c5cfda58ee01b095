// Command web serves the reference front end. It is configured by WEB_*; see
// docs/operations.md.
package main

import (
	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/web"
)

func main() { chassis.Main("web", web.Run) }
