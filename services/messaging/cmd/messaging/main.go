// Command messaging runs the messaging service. Its settings are MESSAGING_*.
package main

import (
	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging"
)

func main() {
	chassis.Main("messaging", messaging.Run, postgres.MigrateCommand("messaging", messaging.Migrations))
}
