package calendar

import (
	"strings"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// What is said about it, until the day and from then on, in both languages.
func TestSentences(t *testing.T) {
	t.Parallel()
	french, english := &render.Pages{Lang: "fr"}, &render.Pages{Lang: "en"}
	receipt := time.Date(2026, time.November, 25, 18, 42, 0, 0, time.UTC)
	due := time.Date(2026, time.November, 30, 23, 0, 0, 0, time.UTC)
	newYear := time.Date(2026, time.December, 30, 9, 0, 0, 0, time.UTC)
	for _, row := range []struct{ got, want string }{
		{Announced(french, receipt, 3), "Réponse attendue avant le mardi 1er décembre si vous envoyez votre message aujourd’hui."},
		{Announced(english, receipt, 3), "Reply expected before Tuesday 1 December if you send your message today."},
		{Announced(french, receipt, 0), ""},
		{Answer(french, receipt, 3, due.Add(-time.Second)), "Réponse attendue avant le mardi 1er décembre."},
		{Answer(english, receipt, 3, due.Add(-time.Second)), "Reply expected before Tuesday 1 December."},
		{Answer(french, receipt, 3, due), "La réponse était attendue avant le mardi 1er décembre : elle est en retard."},
		{Answer(english, receipt, 3, due), "A reply was expected before Tuesday 1 December: it is late."},
		{Answer(french, receipt, 0, due), ""},
		{Answer(french, newYear, 2, newYear), "Réponse attendue avant le mardi 5 janvier."},
	} {
		if got := strings.ReplaceAll(row.got, "\u00a0", " "); got != row.want {
			t.Errorf("%q, want %q", row.got, row.want)
		}
	}
}
