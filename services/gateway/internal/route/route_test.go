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

// A method may have several forms in REST, which differ by how they take their input alone.
func TestForms(t *testing.T) {
	t.Parallel()
	routes, err := Read([]Service{{Name: "messagerie.taxonomy.v1.TaxonomyService"}})
	if err != nil {
		t.Fatal(err)
	}
	search := routes["/messagerie.taxonomy.v1.TaxonomyService/SearchReasons"]
	forms := search.Forms()
	if len(forms) != 2 || forms[0] != search {
		t.Fatalf("%d forms", len(forms))
	}
	get, post := forms[0], forms[1]
	if get.Verb != "GET" || get.HasBody || len(get.Query) != 2 || post.Verb != "POST" || !post.HasBody || len(post.Query) != 0 {
		t.Errorf("%s with %v, %s with %v", get.Verb, get.Query, post.Verb, post.Query)
	}
	if post.Path != get.Path || post.Method != get.Method || post.Access != get.Access || post.Scope != get.Scope || post.Input != get.Input {
		t.Errorf("%+v is another method than %+v", post, get)
	}
	for method, rt := range routes {
		if n := len(rt.Forms()); n != 1 && rt != search {
			t.Errorf("%s has %d forms", method, n)
		}
	}
	if n := len((&Route{}).Forms()); n != 0 {
		t.Errorf("a method without REST has %d forms", n)
	}
}
