// Command messaging runs the messaging service. Its settings are MESSAGING_*.
package main

import (
	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging"
)

func main() {
	chassis.Main("messaging", messaging.Run, postgres.MigrateCommand("messaging",
		postgres.Schema{Database: "DATABASE", Migrations: messaging.Migrations}, postgres.Schema{Database: "VAULT", Migrations: messaging.VaultMigrations}))
}
