package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A statement is one of a migration, as it is compared with forms: without comments, its
// tokens one space apart, words in lower case, names without the schema public.
type statement struct {
	code   string // strings as '' and $$, parentheses as (), whatever is in them
	whole  string // strings as in code, parentheses with what is in them
	body   string // what is between dollars, in one line
	behind bool   // the runner sends it together with the one before
}

var (
	ends   = regexp.MustCompile(`(?m)^-- \+goose Down\s*$`)
	alone  = regexp.MustCompile(`(?im)^--\s*\+goose NO TRANSACTION\s*$`)
	block  = regexp.MustCompile(`(?i)^--\s*\+goose Statement(Begin|End)\s*$`)
	lasts  = regexp.MustCompile(`^([ \t]+--[^\n]*)?\s*?(\n|$)`) // what may follow the end of a line's statement
	dollar = regexp.MustCompile(`^\$([\pL_][\pL\pN_]*)?\$`)
	lexeme = regexp.MustCompile(`(?s)^(\s+|--[^\n]*|[eE]'([^'\\]|''|\\.)*'|'([^']|'')*'|"([^"]|"")*"|[\pL_][\pL\pN_$]*|\d[\w.]*|::|.)`)
	public = regexp.MustCompile(`(^| )"?public"? \. `)
)

// parseStatements cuts what a migration does on the way up into statements, as PostgreSQL would.
func parseStatements(content string) (all []statement) {
	if down := ends.FindStringIndex(content); down != nil {
		content = content[:down[0]]
	}
	var s statement
	var code, whole []string
	depth, marked := 0, false
	finish := func(behind bool) {
		if len(whole) > 0 {
			s.code = public.ReplaceAllString(strings.Join(code, " "), "$1")
			s.whole = public.ReplaceAllString(strings.Join(whole, " "), "$1")
			all = append(all, s)
		}
		s, code, whole, depth = statement{behind: behind}, nil, nil, 0
	}
	for content != "" {
		word, plain := nextToken(content)
		content = content[len(word):]
		switch plain {
		case "":
			if mark := block.FindStringSubmatch(word); mark != nil {
				finish(false)
				marked = strings.EqualFold(mark[1], "Begin")
			}
			continue
		case ";":
			finish(marked || !lasts.MatchString(content))
			continue
		case "$$":
			tag := len(dollar.FindString(word))
			s.body = strings.Join(strings.Fields(word[tag:max(tag, len(word)-tag)]), " ")
		}
		whole = append(whole, plain)
		if plain == ")" {
			depth = max(0, depth-1)
		} else if depth == 0 {
			code = append(code, strings.Replace(plain, "(", "()", 1))
		}
		if plain == "(" {
			depth++
		}
	}
	finish(false)
	return all
}

// nextToken is the first token of a text: as it stands there, and as it is compared, which is
// empty for spaces and comments.
func nextToken(text string) (word, plain string) {
	if strings.HasPrefix(text, "/*") {
		// Comments of this kind stand in one another.
		for i, depth := 0, 0; i < len(text); {
			switch {
			case strings.HasPrefix(text[i:], "/*"):
				depth, i = depth+1, i+2
			case strings.HasPrefix(text[i:], "*/"):
				depth, i = depth-1, i+2
			default:
				i++
			}
			if depth == 0 {
				return text[:i], ""
			}
		}
		return text, ""
	}
	if tag := dollar.FindString(text); tag != "" {
		body, _, _ := strings.Cut(text[len(tag):], tag)
		return text[:min(len(text), len(body)+2*len(tag))], "$$"
	}
	word = lexeme.FindString(text)
	switch {
	case strings.HasPrefix(word, "--") || strings.TrimSpace(word) == "":
		return word, ""
	case strings.HasPrefix(word, `"`):
		return word, word
	case len(word) > 1 && strings.HasSuffix(word, "'"):
		return word, "''"
	}
	return word, strings.ToLower(word)
}

func TestParseStatements(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		migration string
		code      []string
	}{
		{"-- +goose Up\n-- SELECT 1;\nSELECT /* a; /* b; */ c; */ 2;\n", []string{"select 2"}},
		{"SELECT 'a;''b', E'c\\';d', \"e;f\"; select 1;", []string{`select '' , '' , "e;f"`, "select 1"}},
		{"SELECT $$ a; $b$ $$, $c$ $$; $c$, d$$e;\nSELECT 1", []string{"select $$ , $$ , d$$e", "select 1"}},
		{"ALTER TABLE Public.\"a\" ADD b numeric(10, (2));", []string{`alter table "a" add b numeric ()`}},
		{"SELECT '\n-- +goose Down';\nSELECT 1;\n-- +goose Down\nSELECT 2;", []string{"select ''", "select 1"}},
		{"SELECT 'open; SELECT 1;", []string{"select ' open", "select 1"}},
	} {
		var code []string
		for _, s := range parseStatements(row.migration) {
			code = append(code, s.code)
		}
		if !slices.Equal(code, row.code) {
			t.Errorf("%q: %q, want %q", row.migration, code, row.code)
		}
	}
	for migration, behind := range map[string]bool{
		"SELECT 1;\nSELECT 2;": false, "SELECT 1; -- one\nSELECT 2;": false, "SELECT 1; SELECT 2;": true, "SELECT 1; /* one */\nSELECT 2;": true,
		"-- +goose StatementBegin\nSELECT 1;\nSELECT 2;\n-- +goose StatementEnd\n":                                                            true,
		"-- +goose StatementBegin\nSELECT 1;\n-- +goose StatementEnd\n-- +goose StatementBegin\nSELECT 2;\n-- +goose StatementEnd\nSELECT 3;": false,
	} {
		if all := parseStatements(migration); all[1].behind != behind {
			t.Errorf("%q: %v", migration, all)
		}
	}
}
