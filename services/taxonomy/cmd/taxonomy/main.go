// Command taxonomy runs the taxonomy service. Its settings are TAXONOMY_*.
package main

import (
	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/taxonomy"
)

func main() {
	chassis.Main("taxonomy", taxonomy.Run, postgres.MigrateCommand("taxonomy", postgres.Schema{Database: "DATABASE", Migrations: taxonomy.Migrations}))
}
