// Command notifier runs the notification service. Its settings are NOTIFIER_*.
package main

import (
	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/notifier"
)

func main() {
	chassis.Main("notifier", notifier.Run, postgres.MigrateCommand("notifier", postgres.Schema{Database: "DATABASE", Migrations: notifier.Migrations}))
}
