package web

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template/parse"

	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// promiseWords are words of sentences that say what will happen or has happened. They are many
// rather than few: a sentence with one that promises nothing is in noPromises.
var promiseWords = map[string]*regexp.Regexp{
	"the future": word(`\p{L}+(ra|ras|rez|rons|ront)|va|vont`),
	"what leaves, comes and is told": word(`part|partent|partie?s?|vient|arrivent|parv[ei]n\p{L}*|parviennent|envoyée?s?|transmise?s?|reçue?s?|reçoit|recevez|recevoir|avertie?s?|prévien\p{L}+|annonce|` +
		`confirme|signalée?s?|consignée|répond[ous]\p{L}*|répondre plus vite|tout de suite`),
	"what is kept or lost":              word(`enregistrée?s?|conserv\p{L}+|gard[ei]\p{L}*|rest(e|ent)|ajoutée?s?|supprimée?s?|effac(ée?s?|ement)|deviennent|remplacés|protégés|est ci-dessous|retrouve\p{L}*|rendue?s?|n’existe|perdue?s?|ancien|anciennes\.`),
	"what was done with a conversation": word(`pris|prise en charge|en charge jusqu|elle l’est|lit|lu|cherché|abandonné|modifiée le|survenue|reprise?|confiée?|transférée?|reclassée?|orientée|clos|closes?|clos(e|es)|rouverte?s?|masquée?s?|affichée?s?|changé|écrit|donnée|ouverte|a abouti|n’a pas abouti|à jour|du nouveau`),
	"who is reached":                    word(`choisi par la personne|d’après son compte|lui parvient|avons (pas|votre)|indésirable|désactivent|classé`),
	"dates and delays":                  word(`avant le|jusqu\p{L}*|attend\p{L}*|en retard|termine|terminée?s?|fin|prolongée?|hors connexion|réessayons|indisponible|pour l’instant`),
	"never, always, nothing, all":       word(`jamais|toujours|rien|aucune?s?|toutes vos|n’y a pas|n’avez pas|n’a pas|non lues?|quittez|devez|est envoyé`),
}

func word(words string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)(^|[^\p{L}])(` + words + `)($|[^\p{L}])`)
}

// promises reports whether a sentence says what will happen or has happened. One word alone is a
// name of something: of a status, a list, a button.
func promises(sentence string) bool {
	if !strings.ContainsAny(strings.TrimSpace(sentence), " .") {
		return false
	}
	for _, words := range promiseWords {
		if words.MatchString(sentence) {
			return true
		}
	}
	return false
}

// sentence is a French one of the pages in English, and the file that has it.
type sentence struct{ english, file string }

// sentences are all French ones of the pages: what templates and Go files hand to the functions
// that pick a language, and tables with a pair of languages.
func sentences(t *testing.T) map[string]sentence {
	t.Helper()
	found := make(map[string]sentence)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "testdata"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".html"):
			ofTemplate(t, path, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ofCode(t, found)
	return found
}

// ofTemplate collects the sentences of a template: the first argument of tr, wherever it is
// called.
func ofTemplate(t *testing.T, path string, found map[string]sentence) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	trees, first := make(map[string]*parse.Tree), parse.New(path)
	first.Mode = parse.SkipFuncCheck
	if _, err := first.Parse(string(content), "", "", trees); err != nil {
		t.Fatal(err)
	}
	var walk func(parse.Node)
	pipe := func(p *parse.PipeNode) {
		if p == nil {
			return
		}
		for _, command := range p.Cmds {
			if name, ok := command.Args[0].(*parse.IdentifierNode); ok && name.Ident == "tr" {
				text, ok := command.Args[1].(*parse.StringNode)
				if !ok {
					t.Errorf("%s: tr of what is no string: %s", path, command)
					continue
				}
				english, _ := command.Args[2].(*parse.StringNode)
				found[unmarked(text.Text)] = sentence{unmarked(english.Text), path}
			}
			for _, arg := range command.Args {
				walk(arg)
			}
		}
	}
	list := func(l *parse.ListNode) {
		if l != nil {
			for _, node := range l.Nodes {
				walk(node)
			}
		}
	}
	branch := func(b parse.BranchNode) { pipe(b.Pipe); list(b.List); list(b.ElseList) }
	walk = func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ActionNode:
			pipe(n.Pipe)
		case *parse.PipeNode:
			pipe(n)
		case *parse.IfNode:
			branch(n.BranchNode)
		case *parse.RangeNode:
			branch(n.BranchNode)
		case *parse.WithNode:
			branch(n.BranchNode)
		case *parse.TemplateNode:
			pipe(n.Pipe)
		}
	}
	for _, tree := range trees {
		list(tree.Root)
	}
}

// picks are the functions that pick a language, with which of their arguments are French. One
// that hands a parameter on to them is found and added.
func picks() map[string][]int {
	return map[string][]int{"Tr": {0}, "Sentence": {0}, "Counted": {1, 2}}
}

// ofCode collects the sentences of the Go files, without those of tests.
func ofCode(t *testing.T, found map[string]sentence) {
	t.Helper()
	set, files := token.NewFileSet(), make(map[string]*ast.File)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files[path], err = parser.ParseFile(set, path, nil, 0)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	picks := picks()
	for before := 0; before != len(picks); {
		before = len(picks)
		for _, file := range files {
			handOn(file, picks)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		ast.Inspect(files[path], func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				return n.Name.Name != "Sentence" // hands on what is escaped
			case *ast.CallExpr:
				french := picks[called(n)]
				for _, i := range french {
					if text, ok := literal(n.Args[i]); ok {
						english, _ := literal(n.Args[i+apart(french)])
						found[unmarked(text)] = sentence{unmarked(english), path}
					} else if _, ok := n.Args[i].(*ast.Ident); !ok {
						t.Errorf("%s: %s of what is no string", set.Position(n.Pos()), called(n))
					}
				}
			case *ast.CompositeLit:
				of := pairs(n)
				for french, english := range of {
					found[unmarked(french)] = sentence{unmarked(english), path}
				}
				return len(of) == 0
			}
			return true
		})
	}
}

// handOn adds to the functions that pick a language those of a file that hand their own
// parameters on to one.
func handOn(file *ast.File, picks map[string][]int) {
	inspect := func(name string, kind *ast.FuncType, body *ast.BlockStmt) {
		var params []string
		for _, field := range kind.Params.List {
			for _, param := range field.Names {
				params = append(params, param.Name)
			}
		}
		if body == nil || picks[name] != nil {
			return
		}
		var french []int
		ast.Inspect(body, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				for _, i := range picks[called(call)] {
					if arg, ok := call.Args[i].(*ast.Ident); ok {
						if at := slices.Index(params, arg.Name); at >= 0 && !slices.Contains(french, at) {
							french = append(french, at)
						}
					}
				}
			}
			return true
		})
		if french != nil {
			picks[name] = french
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			inspect(n.Name.Name, n.Type, n.Body)
		case *ast.AssignStmt:
			if f, ok := n.Rhs[0].(*ast.FuncLit); ok && len(n.Lhs) == 1 {
				if name, ok := n.Lhs[0].(*ast.Ident); ok {
					inspect(name.Name, f.Type, f.Body)
				}
			}
		}
		return true
	})
}

// called is the name of the function or method of a call.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// apart is how many arguments after the French the English of the same is.
func apart(french []int) int {
	if len(french) == 2 && french[1] == french[0]+1 {
		return 2 // singular and plural
	}
	return 1
}

// pairs are the sentences of a table's row: {"français", "English"}, or of {"fr": {…}, "en": {…}}
// each with the one in the same place.
func pairs(n *ast.CompositeLit) map[string]string {
	found := make(map[string]string)
	if len(n.Elts) != 2 {
		return found
	}
	if french, ok := literal(n.Elts[0]); ok {
		if english, ok := literal(n.Elts[1]); ok {
			found[french] = english
		}
		return found
	}
	var texts [2][]ast.Expr
	for i, elt := range n.Elts {
		pair, ok := elt.(*ast.KeyValueExpr)
		if !ok {
			return found
		}
		if lang, ok := literal(pair.Key); !ok || lang != render.Languages[i] {
			return found
		}
		texts[i] = []ast.Expr{pair.Value}
		if list, ok := pair.Value.(*ast.CompositeLit); ok {
			texts[i] = list.Elts
		}
	}
	for i, text := range texts[0] {
		if french, ok := literal(text); ok {
			found[french], _ = literal(texts[1][i])
		}
	}
	return found
}
