package route

import (
	"maps"
	"slices"
	"testing"

	_ "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	_ "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// TestMethodsOfOurOwnProcessesAreNotForwarded holds even for a service that is
// listed by mistake.
func TestMethodsOfOurOwnProcessesAreNotForwarded(t *testing.T) {
	t.Parallel()
	routes, err := Read([]Service{{Name: "messagerie.taxonomy.v1.CatalogueService"}, {Name: "messagerie.messaging.v1.RecipientService"}})
	if err != nil || len(routes) != 0 {
		t.Errorf("routes %v, %v", slices.Collect(maps.Keys(routes)), err)
	}
	if _, err := Read([]Service{{Name: "messagerie.Nothing"}}); err == nil {
		t.Error("a service that does not exist is no error")
	}
}
