package taxonomyfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/ma-messagerie/messagerie/chassis/plain"
)

// sound is a small file without faults; each test breaks one thing in it.
func sound(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "sound.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestParse_Sound(t *testing.T) {
	t.Parallel()
	f, err := Parse("f.yaml", []byte(sound(t)))
	if err != nil || len(f.Themes) != 2 {
		t.Fatal(f, err)
	}
}

func TestParse_Faults(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, old, new, want string }{
		{"no version", "version: 3", "version: 0", "1:10 NUMBER_OUT_OF_RANGE"},
		{"version beyond the column", "version: 3", "version: 2147483648", "1:10 NUMBER_OUT_OF_RANGE"},
		{"unknown key", "depth: REASON,", "dept: REASON,", "4:12 DEPTH_UNKNOWN, 4:25 KEY_UNKNOWN"},
		{"unknown key of a node", "label: Famille", "libelle: Famille", "12:11 TEXT_MISSING, 13:5 KEY_UNKNOWN"},
		{"key twice", "label: Famille", "label: Famille\n    label: Encore", "14:5 KEY_DUPLICATE"},
		{"limits beyond the store", "max: 750", "max: 751", "2:29 NUMBER_OUT_OF_RANGE"},
		{"limits the wrong way", "min: 10, max: 750", "min: 400, max: 300", "2:30 NUMBER_OUT_OF_RANGE"},
		{"unknown audience", "code: EMPLOYEUR,", "code: RETRAITE,", "5:12 AUDIENCE_UNKNOWN, 10:12 AUDIENCE_MISSING, 10:84 AUDIENCE_OUTSIDE, 30:27 SERVICE_OUTSIDE, 33:20 AUDIENCE_MISSING, 33:53 AUDIENCE_OUTSIDE, 35:15 AUDIENCE_MISSING, 37:21 AUDIENCE_OUTSIDE, 38:16 AUDIENCE_MISSING, 38:49 AUDIENCE_OUTSIDE"},
		{"audience twice", "code: EMPLOYEUR, depth: TOPIC", "code: PARTICULIER, depth: TOPIC", "5:12 AUDIENCE_DUPLICATE, 10:12 AUDIENCE_MISSING, 10:84 AUDIENCE_OUTSIDE, 12:11 OTHER_MISSING, 24:11 OTHER_MISSING, 30:27 SERVICE_OUTSIDE, 33:20 AUDIENCE_MISSING, 33:53 AUDIENCE_OUTSIDE, 35:15 AUDIENCE_MISSING, 37:21 AUDIENCE_OUTSIDE, 38:16 AUDIENCE_MISSING, 38:49 AUDIENCE_OUTSIDE"},
		{"unknown depth", "depth: TOPIC", "depth: SUJET", "5:30 DEPTH_UNKNOWN"},
		{"deposit address", "https://example.org/deposer", "javascript:alert(1)", "4:62 URL_INVALID"},
		{"queue without address", `postal_address: "1 rue de l’Abbesse, 35000 Rennes", `, "", "7:12 TEXT_MISSING"},
		{"answer time", "answer_days: 3", "answer_days: 61", "7:127 NUMBER_OUT_OF_RANGE"},
		{"no term of a theme", "label: Famille", "label: Famille\n    retention: 0", "14:16 NUMBER_OUT_OF_RANGE"},
		{"too long a term of a reason", "label: Pas reçu", "label: Pas reçu, retention: 31", "21:56 NUMBER_OUT_OF_RANGE"},
		{"a term before the end", "label: Aides", "label: Aides\n        retention: -1", "20:20 NUMBER_OUT_OF_RANGE"},
		{"a term that is no number", "label: Aides", "label: Aides\n        retention: dix ans", "20:20 NUMBER_NOT_WHOLE"},
		{"unknown queue", "queue: accueil\n    services", "queue: guichet\n    services", "15:12 QUEUE_UNKNOWN"},
		{"missing queue", "    queue: accueil\n    services", "    services", "12:11 QUEUE_MISSING"},
		{"service without https", "https://example.org/payer", "http://example.org/payer", "9:37 URL_INVALID"},
		{"service with a password", "https://example.org/payer", "https://a:b@example.org/payer", "9:37 URL_INVALID"},
		{"service for nobody", "audiences: [PARTICULIER]}\n  - {code: embaucher", "audiences: []}\n  - {code: embaucher", "9:12 AUDIENCE_MISSING, 16:16 SERVICE_OUTSIDE, 30:20 SERVICE_OUTSIDE, 32:82 SERVICE_OUTSIDE"},
		{"service twice", "code: embaucher", "code: payer", "10:12 CODE_DUPLICATE, 16:16 SERVICE_OUTSIDE, 30:27 SERVICE_UNKNOWN, 32:82 SERVICE_OUTSIDE"},
		{"unknown service", "services: [payer]\n    topics", "services: [remplir]\n    topics", "16:16 SERVICE_UNKNOWN"},
		{"service of others", "services: [payer]\n    topics", "services: [embaucher]\n    topics", "16:16 SERVICE_OUTSIDE"},
		{"theme twice", "code: commun", "code: famille", "24:11 CODE_DUPLICATE"},
		{"topic twice", "code: contrat", "code: compte", "35:15 CODE_DUPLICATE"},
		{"reason twice", "code: montant", "code: absent", "22:20 CODE_DUPLICATE"},
		{"bad code", "code: famille", "code: Famille Nombreuse", "12:11 CODE_INVALID"},
		{"long code", "code: famille", "code: " + strings.Repeat("a", 65), "12:11 CODE_INVALID"},
		{"no code", "{code: absent, label", "{label", "21:13 CODE_MISSING"},
		{"no code of a theme", "code: famille\n    label", "label", "12:5 CODE_MISSING"},
		{"no code of a topic", "- code: aides\n        label", "- label", "18:9 CODE_MISSING"},
		{"no label", "label: Famille", `label: " "`, "13:12 TEXT_INVISIBLE"},
		{"long label", "label: Famille", "label: " + strings.Repeat("é", 201), "13:12 TEXT_LONG"},
		{"audience gap below", "label: Aides", "label: Aides\n        audiences: [EMPLOYEUR]", "12:11 CHOICE_MISSING, 18:15 AUDIENCE_MISSING, 20:21 AUDIENCE_OUTSIDE"},
		{"reason for others", "label: Pas reçu", "label: Pas reçu, audiences: [EMPLOYEUR]", "21:20 AUDIENCE_MISSING, 21:57 AUDIENCE_OUTSIDE"},
		{"unknown audience of a node", "label: Pas reçu", "label: Pas reçu, audiences: [TOUS]", "21:20 AUDIENCE_MISSING, 21:57 AUDIENCE_UNKNOWN"},
		{"audience without theme", "label: Commun", "label: Commun\n    audiences: [PARTICULIER]", "5:12 CHOICE_MISSING, 31:27 SERVICE_OUTSIDE, 34:20 AUDIENCE_MISSING, 34:53 AUDIENCE_OUTSIDE, 36:15 AUDIENCE_MISSING, 38:21 AUDIENCE_OUTSIDE, 39:16 AUDIENCE_MISSING, 39:49 AUDIENCE_OUTSIDE"},
		{"too deep", "{code: absent, label: Pas reçu}\n          - {code: montant, label: Montant, services: []}\n          - {code: autre, label: Autre}", "[]", "18:15 CHOICE_MISSING, 21:11 KIND_INVALID"},
		{"not YAML", "themes:", "themes: [", "11:1 SYNTAX_INVALID"},
		{"a second document", "label: Autre, audiences: [EMPLOYEUR]}\n", "label: Autre, audiences: [EMPLOYEUR]}\n---\nversion: 4\n", "39:1 DOCUMENT_SECOND"},
		{"empty entry", "topics:\n", "topics:\n      -\n", "18:8 ENTRY_EMPTY"},
		{"empty entry of a short list", "services: [payer]\n    topics", "services: [payer, ~]\n    topics", "16:23 ENTRY_EMPTY"},
		{"no topic for an audience", "code: contrat\n        label: Contrat\n        audiences: [EMPLOYEUR]", "code: contrat\n        label: Contrat\n        audiences: []", "35:15 AUDIENCE_MISSING"},
		{"no other reason", "          - {code: autre, label: Autre}\n  - code: commun", "  - code: commun", "18:15 OTHER_MISSING"},
		{"another reason for others", "          - {code: autre, label: Autre}\n      - code", "          - {code: autre, label: Autre, audiences: [EMPLOYEUR]}\n      - code", "28:15 OTHER_MISSING"},
		{"no other topic", "- {code: autre, label: Autre, audiences: [EMPLOYEUR]}", "- {code: reste, label: Reste, audiences: [EMPLOYEUR]}", "24:11 OTHER_MISSING"},
		{"a keyword twice", "label: Famille", "label: Famille\n    keywords: [Né,\n      foyer, ne]", "15:14 KEYWORD_DUPLICATE"},
		{"no word", "label: Pas reçu", "label: Pas reçu, keywords: [perdu, \"…\"]", "21:63 KEYWORD_INVALID"},
		{"a keyword that is a list", "label: Pas reçu", "label: Pas reçu, keywords: [[perdu]]", "21:56 KIND_INVALID"},
		{"an empty keyword", "label: Pas reçu", "label: Pas reçu, keywords: [~]", "21:56 ENTRY_EMPTY"},
		{"a long keyword", "label: Aides", "label: Aides\n        keywords: [" + strings.Repeat("é", 81) + "]", "20:20 KEYWORD_INVALID"},
		{"a keyword with a control character", "label: Aides", "label: Aides\n        keywords: [\"a\\nb\"]", "20:20 KEYWORD_INVALID"},
		{"keywords of a service", "name: Payer", "name: Payer, keywords: [payer, Payer]", "9:50 KEYWORD_DUPLICATE"},
		{"too many keywords", "label: Famille", "label: Famille\n    keywords: [" + many(maxKeywords+1) + "]", "14:16 LIST_LENGTH"},
		{"a synonym alone", "themes:", "synonyms:\n  - [APL]\nthemes:", "12:5 LIST_LENGTH"},
		{"no synonym", "themes:", "synonyms:\n  - [APL, ALS]\n  - []\nthemes:", "13:5 LIST_LENGTH"},
		{"too many synonyms", "themes:", "synonyms:\n  - [" + many(maxSynonyms+1) + "]\nthemes:", "12:5 LIST_LENGTH"},
		{"a synonym twice", "themes:", "synonyms:\n  - [l’aide, loyer,\n     aide]\nthemes:", "13:6 KEYWORD_DUPLICATE"},
		{"too many lists of synonyms", "themes:", "synonyms:\n" + strings.Repeat("  - [a, b]\n", maxSynonymous+1) + "themes:", "12:3 LIST_LENGTH"},
		{"not UTF-8", "label: Famille", "label: Famill\xe9", "13:18 ENCODING_INVALID"},
		{"half a day", "answer_days: 3", "answer_days: 3.5", "7:127 NUMBER_NOT_WHOLE"},
		{"a whole float", "answer_days: 3", "answer_days: 3.0", "7:127 NUMBER_NOT_WHOLE"},
		{"a number between quotes", "answer_days: 3", "answer_days: \"3\"", "7:127 NUMBER_NOT_WHOLE"},
		{"a power", "answer_days: 3", "answer_days: 1e3", "7:127 NUMBER_NOT_WHOLE"},
		{"a number of base 16", "answer_days: 3", "answer_days: 0x10", "7:127 NUMBER_NOT_WHOLE"},
		{"a number of base 8", "answer_days: 3", "answer_days: 010", "7:127 NUMBER_NOT_WHOLE"},
		{"a number of groups", "answer_days: 3", "answer_days: 1_000", "7:127 NUMBER_NOT_WHOLE"},
		{"a number with a plus", "answer_days: 3", "answer_days: +3", "7:127 NUMBER_NOT_WHOLE"},
		{"a number that is none", "answer_days: 3", "answer_days: .inf", "7:127 NUMBER_NOT_WHOLE"},
		{"a number of a tag", "answer_days: 3", "answer_days: !!int \"3\"", "7:127 NUMBER_NOT_WHOLE"},
		{"a list for a number", "answer_days: 3", "answer_days: [3]", "7:12 NUMBER_MISSING, 7:127 KIND_INVALID"},
		{"no target", ", answer_days: 3", "", "7:12 NUMBER_MISSING"},
		{"a null target", "answer_days: 3", "answer_days: ~", "7:12 NUMBER_MISSING"},
		{"a target of no day", "answer_days: 3", "answer_days: 0", "7:127 NUMBER_OUT_OF_RANGE"},
		{"a long number", "answer_days: 3", "answer_days: 99999999999999999999", "7:127 NUMBER_OUT_OF_RANGE"},
		{"a version with a half", "version: 3", "version: 3.5", "1:10 NUMBER_NOT_WHOLE"},
		{"no limits", "text_limits: {min: 10, max: 750}\n", "", "1:1 NUMBER_MISSING, 1:1 NUMBER_MISSING"},
		{"limits between quotes", "min: 10", "min: '10'", "2:20 NUMBER_NOT_WHOLE"},
		{"a term between quotes", "label: Aides", "label: Aides\n        retention: '10'", "20:20 NUMBER_NOT_WHOLE"},
		{"telephone", "01 99 00 00 00", "01 99 00 00", "7:96 PHONE_INVALID"},
		{"a telephone with an invisible character", "01 99 00 00 00", "01 99 00 00\u200b 00", "7:96 PHONE_INVALID"},
		{"e-mail", "answer_days: 3", "email: accueil@example, answer_days: 3", "7:121 EMAIL_INVALID"},
		{"an e-mail that is empty", "answer_days: 3", "email: '', answer_days: 3", "7:121 EMAIL_INVALID"},
		{"a street without a town", "1 rue de l’Abbesse, 35000 Rennes", "1 rue de l’Abbesse", "7:53 POSTAL_INVALID"},
		{"a town without a street", "1 rue de l’Abbesse, 35000 Rennes", "35000 Rennes", "7:53 POSTAL_INVALID"},
		{"a host that cannot be", "https://example.org/payer", "https://example", "9:37 URL_INVALID"},
		{"an address with a space", "https://example.org/payer", "https://example.org/pa yer", "9:37 URL_INVALID"},
		{"a backslash for a host", "\"https://example.org/payer\"", "'https://example.org\\@evil.example'", "9:37 URL_INVALID"},
		{"no address", "url: \"https://example.org/payer\", ", "", "9:12 URL_INVALID"},
		{"a label of nothing", "label: Famille", "label: \"\\u200b\\u2800\"", "13:12 TEXT_INVISIBLE"},
		{"a label with a control character", "label: Famille", "label: \"Fam\\tille\"", "13:12 TEXT_CONTROL"},
		{"a label on two lines", "label: Famille", "label: |\n      Famille\n      et logement", "13:12 TEXT_CONTROL"},
		{"a label that turns", "label: Famille", "label: \"\\u202eFamille\"", "13:12 TEXT_DIRECTION"},
		{"a label with letters apart", "label: Famille", "label: Famille e\u0301loigne\u0301e", "13:12 TEXT_NOT_NFC"},
		{"a label with two spaces", "label: Famille", "label: Famille  et logement", "13:12 TEXT_SPACES"},
		{"a label with white space outside", "label: Famille", "label: \" Famille\"", "13:12 TEXT_SPACES"},
		{"labels alike", "label: Commun", "label: \"FAMILLE\"", "25:12 LABEL_DUPLICATE"},
		{"labels alike but for the apostrophe", "{code: absent, label: Pas reçu}\n          - {code: montant, label: Montant", "{code: absent, label: L’aide}\n          - {code: montant, label: L'aide", "22:36 LABEL_DUPLICATE"},
		{"labels alike of topics", "label: Contrat", "label: compte", "36:16 LABEL_DUPLICATE"},
		{"labels alike of services", "name: Embaucher, url: \"http://127.0.0.1:8080/x\", audiences: [EMPLOYEUR]", "name: payer, url: \"http://127.0.0.1:8080/x\", audiences: [EMPLOYEUR, PARTICULIER]", "10:29 LABEL_DUPLICATE"},
		{"a help of nothing", "label: Famille", "label: Famille\n    help: ''", "14:11 TEXT_MISSING"},
		{"a long help", "label: Famille", "label: Famille\n    help: " + strings.Repeat("é", 501), "14:11 TEXT_LONG"},
		{"a name of nothing", "name: Payer", "name: \"\\u00ad\"", "9:25 TEXT_INVISIBLE"},
		{"no-break spaces that indent", "    label: Famille", "\u00a0\u00a0\u00a0\u00a0label: Famille", "13:1 SPACE_INVALID"},
		{"a no-break space among spaces", "    label: Famille", "  \u202f label: Famille", "13:3 SPACE_INVALID"},
		{"an ideographic space that indents", "    label: Famille", "\u3000   label: Famille", "13:1 SPACE_INVALID"},
		{"a zero-width space that indents", "    label: Famille", "\u200b    label: Famille", "13:1 SPACE_INVALID"},
		{"a no-break space after the colon", "label: Famille", "label:\u00a0Famille", "13:11 SPACE_INVALID"},
		{"a no-break space too after the colon", "label: Famille", "label: \u00a0Famille", "13:12 SPACE_INVALID"},
		{"a no-break space after the dash", "- code: famille", "-\u00a0code: famille", "12:4 SPACE_INVALID"},
		{"a no-break space at the end", "code: famille\n", "code: famille\u00a0\n", "12:18 SPACE_INVALID"},
		{"a no-break space before a comment", "code: famille\n", "code: famille\u00a0# x\n", "12:18 SPACE_INVALID"},
		{"a no-break space in a mapping", "{code: payer, name", "{code:\u00a0payer,\u00a0name", "9:11 SPACE_INVALID, 9:18 SPACE_INVALID"},
		{"a no-break space before the comma", "[payer, embaucher]", "[payer\u00a0, embaucher\u202f]", "30:25 SPACE_INVALID, 30:37 SPACE_INVALID"},
		{"a no-break space in a code", "code: famille\n", "code: famille\u00a0proche\n", "12:11 CODE_INVALID"},
		{"a line of no-break spaces", "    label: Famille\n", "    label: Famille\n\u00a0\u00a0\n", "14:1 SPACE_INVALID"},
		{"a byte order mark in the middle", "label: Famille", "label: Fam\ufeffille", "13:15 SPACE_INVALID"},
		{"a tab that indents", "    label: Famille", "\tlabel: Famille", "13:1 INDENT_TAB"},
		{"a tab among spaces", "    label: Famille", "  \t label: Famille", "13:3 INDENT_TAB"},
		{"a control character in a comment", "version: 3", "version: 3 # \x1b", "1:14 CHARACTER_FORBIDDEN"},
		{"a separator of lines", "label: Famille", "label: Fam\u2028ille", "13:15 CHARACTER_FORBIDDEN"},
		{"no closing quote", "label: Famille", "label: \"Famille", "13:5 SYNTAX_INVALID"},
		{"a second colon", "label: Famille", "label: Famille: enfants", "13:5 SYNTAX_INVALID"},
		{"a line without its colon", "    label: Famille", "    label Famille", "13:5 SYNTAX_INVALID"},
		{"a dash that is indented otherwise", "  - code: commun", " - code: commun", "23:11 SYNTAX_INVALID"},
		{"an alias of nothing", "label: Famille", "label: *famille", "13:12 SYNTAX_INVALID"},
		{"a word for a list", "services: [payer]\n    topics", "services: payer\n    topics", "16:15 KIND_INVALID"},
		{"a word for true", "external: true", "external: oui", "10:12 KIND_INVALID"},
		{"a list of topics that is a mapping", "topics:\n      - code: compte", "topics:\n        code: compte", "23:11 SYNTAX_INVALID"},
		{"a list for a code", "code: famille", "code: [famille]", "12:5 CODE_MISSING, 12:11 KIND_INVALID"},
	}
	whole := sound(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			broken := strings.Replace(whole, test.old, test.new, 1)
			if broken == whole {
				t.Fatalf("%q is not in the sound file", test.old)
			}
			_, err := Parse("f.yaml", []byte(broken))
			if got := summary(t, err); got != test.want {
				t.Errorf("got  %s\nwant %s\n%v", got, test.want, err)
			}
		})
	}
}

// summary is where faults are, and their codes.
func summary(t *testing.T, err error) string {
	t.Helper()
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("not faults: %v", err)
	}
	var list []string
	for _, fault := range faults {
		list = append(list, fmt.Sprintf("%d:%d %s", fault.Line, fault.Column, fault.Code))
	}
	return strings.Join(list, ", ")
}

// many are so many words.
func many(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("mot%d", i))
	}
	return strings.Join(list, ", ")
}

func TestParse_AllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	broken := strings.NewReplacer(
		"depth: TOPIC", "depth: TOPIC, deep: yes", "answer_days: 3", "answer_days: -1", "label: Famille", "label: ''",
		"code: absent", "code: [absent]", "code: montant", "code: adresse-", "label: Contrat", "label: Contrat\n        help: {a: b}",
	).Replace(sound(t))
	_, err := Parse("f.yaml", []byte(broken))
	if err == nil {
		t.Fatal("a file full of faults is taken")
	}
	var lines []int
	for fault := range strings.Lines(err.Error()) {
		var line, column int
		if _, err := fmt.Sscanf(fault, "f.yaml:%d:%d: ", &line, &column); err != nil {
			t.Errorf("no file and line: %s", fault)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	// Line 21 counts twice: a list cannot be a code, and so there is none.
	if want := []int{5, 7, 13, 21, 21, 22, 37}; !slices.Equal(lines, want) {
		t.Errorf("faults on lines %v, want %v:\n%v", lines, want, err)
	}
}

// A place in the tree beside which a null was dropped keeps its own line.
func TestParse_LinesAfterAnEmptyEntry(t *testing.T) {
	t.Parallel()
	broken := strings.NewReplacer("reasons:\n          - {code: absent, label", "reasons:\n          -\n          - 7\n          - {label").Replace(sound(t))
	_, err := Parse("f.yaml", []byte(broken))
	for _, want := range []string{"f.yaml:21:12: ENTRY_EMPTY", "f.yaml:22:13: KIND_INVALID", "f.yaml:23:13: CODE_MISSING"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got:\n%v", want, err)
		}
	}
}

func TestParse_Empty(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "# nothing\n", "~\n", "[]\n", "version\n"} {
		if _, err := Parse("f.yaml", []byte(content)); err == nil || !strings.HasPrefix(err.Error(), "f.yaml:1:1: ") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// What an editor is told, word for word, of a file in which much is wrong.
func TestParse_Seeded(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join("testdata", "seeded.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "seeded.txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("seeded.yaml", content)
	var faults Faults
	if !errors.As(err, &faults) || len(faults) < 20 {
		t.Fatalf("%d faults", len(faults))
	}
	if diff := cmp.Diff(string(want), faults.Error()+"\n"); diff != "" {
		t.Error(diff)
	}
}

// Whoever copies a file from a page gets no-break spaces for all that indents: each line is named,
// and the rest is read as it was meant.
func TestParse_Pasted(t *testing.T) {
	t.Parallel()
	whole := sound(t)
	for _, space := range []string{"\u00a0", "\u202f", "\u3000", "\u2007", "\u2800"} {
		var pasted strings.Builder
		var want []string
		for i, line := range strings.Split(strings.TrimSuffix(whole, "\n"), "\n") {
			text := strings.TrimLeft(line, " ")
			if indented := len(line) - len(text); indented > 0 {
				want = append(want, fmt.Sprintf("%d:1 SPACE_INVALID", i+1))
				line = strings.Repeat(space, indented) + text
			}
			pasted.WriteString(line + "\n")
		}
		_, err := Parse("f.yaml", []byte(pasted.String()))
		if got := summary(t, err); got != strings.Join(want, ", ") {
			t.Errorf("%+q:\ngot  %s\nwant %s", space, got, strings.Join(want, ", "))
		}
		// Other faults keep their places.
		_, err = Parse("f.yaml", []byte(strings.Replace(pasted.String(), "answer_days: 3", "answer_days: 3.5", 1)))
		if got := summary(t, err); !strings.Contains(got, "7:1 SPACE_INVALID, 7:127 NUMBER_NOT_WHOLE") {
			t.Errorf("%+q: %s", space, got)
		}
	}
}

func TestParse_Encodings(t *testing.T) {
	t.Parallel()
	whole := sound(t)
	wide := utf16.Encode([]rune(whole))
	little := []byte{0xff, 0xfe}
	for _, unit := range wide {
		little = append(little, byte(unit), byte(unit>>8))
	}
	for _, content := range [][]byte{little, little[2:], {0, 'v', 0, 'e'}, {0xfe, 0xff, 0, 'v'}} {
		if _, err := Parse("f.yaml", content); summary(t, err) != "1:1 ENCODING_INVALID" {
			t.Errorf("%v", err)
		}
	}
	for _, content := range []string{"\ufeff" + whole, strings.ReplaceAll(whole, "\n", "\r\n"), strings.ReplaceAll(whole, "\n", "\r"), strings.ReplaceAll(whole, "label: Famille", "label: \"Où en est-on\u202f? ☎\ufe0f\""), strings.ReplaceAll(whole, "label: Famille", "label: Appeler ☎\ufe0f"), strings.ReplaceAll(whole, "label: Famille", "label: \"Mon dossier\u00a0: où en est-il\"")} {
		if _, err := Parse("f.yaml", []byte(content)); err != nil {
			t.Error(err)
		}
	}
	_, err := Parse("f.yaml", []byte("\ufeff"+strings.ReplaceAll(strings.Replace(whole, "answer_days: 3", "answer_days: 0", 1), "\n", "\r\n")))
	if got := summary(t, err); got != "7:127 NUMBER_OUT_OF_RANGE" {
		t.Error(got)
	}
}

// No shorter list of codes is documented than that of the program.
func TestCodes_AreDocumented(t *testing.T) {
	t.Parallel()
	documented, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "taxonomy.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range Codes() {
		if !strings.Contains(string(documented), "`"+code+"`") {
			t.Errorf("%s is not in docs/taxonomy.md", code)
		}
	}
}

// Whatever a file is, each fault is on a line that it has, once, and on one line of text.
func FuzzParse(f *testing.F) {
	content, err := os.ReadFile(filepath.Join("testdata", "sound.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(content))
	for _, seed := range []string{
		"", "\ufeff", "version: 3.5", "a:\u00a0b", "-\t\u200b- [{\u3000'", "themes: [~, *x]", "\x00", "- &a [*a]", "a: |\n\u00a0b\n", "? [a]\n: b", "<<: {a: b}", "x: !!int a", "themes:\n- code: \"\\e[2J\"",
		"a: b\r\rc", "a\u2028b: c", "%YAML 1.9\n---\n", "queues: [{answer_days: 1e3}]", "{code:\u00a0x,\u00a0label: \"a\\", "# \u00a0\n\t#\n \t", "synonyms: [[a, b], x]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		_, err := Parse("f.yaml", []byte(content))
		if err == nil {
			return
		}
		var faults Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("not faults: %v", err)
		}
		for _, fault := range faults {
			if fault.Line < 1 || fault.Column < 1 || fault.Line > strings.Count(content, "\n")+strings.Count(content, "\r")+1 || !slices.Contains(Codes(), fault.Code) || fault.Text == "" || fault.Hint == "" || !plain.Is(fault.Error()) {
				t.Errorf("%q: %+q", content, fault.Error())
			}
		}
	})
}
