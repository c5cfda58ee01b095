package render

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestSpaced(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                       "",
		" ":                      " ",
		"Quel est le sujet ?":    "Quel est le sujet\u202f?",
		"Oui ! Non ; si":         "Oui\u202f! Non\u202f; si",
		"Éditeur : %s":           "Éditeur\u00a0: %s",
		" : %d, pour %d":         "\u00a0: %d, pour %d",
		"« %s » est là":          "«\u00a0%s\u00a0» est là",
		"%d %% sur %d":           "%d\u202f%% sur %d",
		"5 000 caractères":       "5\u202f000 caractères",
		"06 12 34 56 78":         "06\u202f12\u202f34\u202f56\u202f78",
		"Étape %d sur 5, à 9 h":  "Étape %d sur 5, à 9 h",
		"nom@exemple.fr : 12:30": "nom@exemple.fr\u00a0: 12:30",
	} {
		if got := spaced(given); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
	if got := (&Pages{Lang: "fr"}).Tr("« %s » ?", "“%s”?", "a : b"); got != "«\u00a0a : b\u00a0»\u202f?" {
		t.Errorf("what is filled in has changed: %q", got)
	}
	if got := (&Pages{Lang: "en"}).Tr("« %s » ?", "%s ?", "a"); got != "a ?" {
		t.Errorf("English has French spaces: %q", got)
	}
}

// One kind of apostrophe in all texts of the pages, wherever they are written, and no sentence
// around the function that sets the spaces.
func TestTexts(t *testing.T) {
	t.Parallel()
	texts := 0
	check := func(where, text string) {
		texts++
		if strings.Contains(text, "'") {
			t.Errorf("%s: a typewriter's apostrophe in %q", where, text)
		}
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	both, action := regexp.MustCompile(`\btr "([^"]*)" "([^"]*)"`), regexp.MustCompile(`\{\{.*?\}\}`)
	for _, name := range names {
		file, err := fs.ReadFile(templateFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range both.FindAllStringSubmatch(string(file), -1) {
			check(name, found[1])
			check(name, found[2])
		}
		// What a template says by itself is the same in both languages.
		bare := action.ReplaceAllString(strings.ReplaceAll(string(file), "{{reference}}, {{theme}}, {{topic}}, {{reason}}", ""), "")
		if found := regexp.MustCompile(` [;:!?»%]|« `).FindString(bare); found != "" {
			t.Errorf("%s has %q outside of tr", name, found)
		}
	}
	err = filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			called := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				called = f.Name
			case *ast.SelectorExpr:
				called = f.Sel.Name
			}
			if called != "Tr" && called != "tr" && called != "Sentence" && called != "Counted" && called != "pick" {
				return true
			}
			for _, arg := range call.Args {
				if text, ok := arg.(*ast.BasicLit); ok && text.Kind == token.STRING {
					if said, err := strconv.Unquote(text.Value); err == nil {
						check(path, said)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if texts < 600 {
		t.Errorf("only %d texts were found", texts)
	}
}
