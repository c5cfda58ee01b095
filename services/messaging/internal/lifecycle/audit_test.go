package lifecycle

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// declared are the values of all constants of type Action in the sources.
func declared(t *testing.T) (actions []Action) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, is := n.(*ast.ValueSpec)
			if !is {
				return true
			}
			if of, is := spec.Type.(*ast.Ident); !is || of.Name != "Action" {
				return true
			}
			for _, value := range spec.Values {
				literal, is := value.(*ast.BasicLit)
				if !is {
					t.Errorf("%s: %v is no literal", file, spec.Names)
					continue
				}
				name, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				actions = append(actions, Action(name))
			}
			return true
		})
	}
	return actions
}

// Every action can be told, every value that is told has its action, and none has two.
func TestTold(t *testing.T) {
	t.Parallel()
	actions := declared(t)
	if len(actions) < 13 {
		t.Fatalf("only %v are found", actions)
	}
	for _, action := range actions {
		if Told(action) == messagingpb.AuditEntry_ACTION_UNSPECIFIED {
			t.Errorf("%s cannot be told", action)
		}
	}
	seen := make(map[Action]bool)
	of := make(map[messagingpb.AuditEntry_Action][]Action)
	for _, a := range audited {
		if seen[a.action] {
			t.Errorf("%s is there twice", a.action)
		}
		seen[a.action] = true
		of[a.told] = append(of[a.told], a.action)
	}
	for number, name := range messagingpb.AuditEntry_Action_name {
		told := messagingpb.AuditEntry_Action(number)
		if want := min(1, int(number)); len(of[told]) != want {
			t.Errorf("%s is told of %v, want %d actions", name, of[told], want)
		}
	}
	if got := Told("of a later version"); got != messagingpb.AuditEntry_ACTION_UNSPECIFIED {
		t.Errorf("an unknown action is told as %s", got)
	}
}

func TestReadings(t *testing.T) {
	t.Parallel()
	if want := []string{"read", "find-reference", "find-number", "find-member", "reply", "note"}; !slices.Equal(Readings, want) {
		t.Errorf("got %v, want %v", Readings, want)
	}
}

// Neither a reading nor an erasure is a step of the member's timeline.
func TestStep_NotOfTheAudit(t *testing.T) {
	t.Parallel()
	for _, a := range audited {
		if _, step := Step(a.action); step && (a.reading || a.action == Erase) {
			t.Errorf("%s is a step", a.action)
		}
	}
}
