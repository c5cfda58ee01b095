package render

import (
	"io/fs"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// schemes are the custom properties of the style sheet, by colour scheme.
func schemes(t *testing.T) map[string]map[string]string {
	t.Helper()
	sheet, err := fs.ReadFile(staticFiles, "static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(sheet), "@media (prefers-color-scheme: dark) {")
	if !ok {
		t.Fatal("the style sheet has no dark scheme")
	}
	all := make(map[string]map[string]string)
	for name, part := range map[string]string{"light": light, "dark": dark} {
		_, root, _ := strings.Cut(part, ":root {")
		root, _, _ = strings.Cut(root, "}")
		all[name] = make(map[string]string)
		for _, found := range regexp.MustCompile(`--([a-z-]+):\s*(#[0-9a-f]+)`).FindAllStringSubmatch(root, -1) {
			all[name][found[1]] = found[2]
		}
	}
	return all
}

// luminance is WCAG's relative luminance of a colour, #rgb or #rrggbb.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	digits := strings.TrimPrefix(colour, "#")
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	rgb, err := strconv.ParseUint(digits, 16, 24)
	if err != nil || len(digits) != 6 {
		t.Fatalf("%q is no colour", colour)
	}
	part := func(shift int) float64 {
		c := float64(rgb>>shift&0xff) / 255
		if c <= .04045 {
			return c / 12.92
		}
		return math.Pow((c+.055)/1.055, 2.4)
	}
	return .2126*part(16) + .7152*part(8) + .0722*part(0)
}

// contrast is WCAG's ratio of two colours.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	la, lb := luminance(t, a), luminance(t, b)
	return (max(la, lb) + .05) / (min(la, lb) + .05)
}

// What is not text is seen on all that it can stand on, text is read (WCAG 1.4.11, 1.4.3).
func TestContrast(t *testing.T) {
	t.Parallel()
	grounds := []string{"page", "card", "good-page", "warn-page", "bad-page"}
	for scheme, colours := range schemes(t) {
		for _, row := range []struct {
			shown string
			on    []string
			least float64
		}{
			// The ring of the focus; within it, on a filled button, the gap.
			{"focus", grounds, 3},
			{"card", []string{"accent", "bad", "focus"}, 3},
			{"field", grounds, 3},
			// The bars of a chart, and of a table's lines.
			{"accent", []string{"card", "page"}, 3},
			{"ink", grounds, 4.5},
			{"link", grounds, 4.5},
			{"soft", grounds, 4.5},
			{"bad", []string{"page", "card", "bad-page"}, 4.5},
			{"accent-ink", []string{"accent"}, 4.5},
		} {
			for _, ground := range row.on {
				if ratio := contrast(t, colours[row.shown], colours[ground]); ratio < row.least {
					t.Errorf("%s: --%s on --%s has %.2f:1, less than %.1f", scheme, row.shown, ground, ratio, row.least)
				}
			}
		}
	}
	if ratio := contrast(t, "#000", "#ffffff"); math.Abs(ratio-21) > 1e-9 {
		t.Errorf("black on white has %f:1", ratio)
	}
	sheet, err := fs.ReadFile(staticFiles, "static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range []string{":focus-visible { outline: 3px solid var(--focus); outline-offset: 2px }", "button:focus-visible { box-shadow: 0 0 0 2px var(--card) }", "border: 1px solid var(--line) } .c1 { fill: var(--accent) }", ".ref { white-space: nowrap }"} {
		if !strings.Contains(string(sheet), rule) {
			t.Errorf("the style sheet does not have %q", rule)
		}
	}
}
