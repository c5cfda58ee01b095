// Package calendar says by when an answer is expected: a date instead of a count of working days.
package calendar

import (
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/workday"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// Announced says by when an answer is expected to a message that is sent now; nothing when no
// target is known.
func Announced(p *render.Pages, now time.Time, days int) string {
	if days < 1 {
		return ""
	}
	return p.Tr("Réponse attendue avant le %s si vous envoyez votre message aujourd’hui.", "Reply expected before %s if you send your message today.", dayOf(p, workday.Before(now, days)))
}

// Answer says by when an answer is expected, or was, to a message that waits for one; nothing
// when no target is known.
func Answer(p *render.Pages, receipt time.Time, days int, now time.Time) string {
	if days < 1 {
		return ""
	}
	due := workday.Before(receipt, days)
	if !now.Before(due) {
		return p.Tr("La réponse était attendue avant le %s\u00a0: elle est en retard.", "A reply was expected before %s: it is late.", dayOf(p, due))
	}
	return p.Tr("Réponse attendue avant le %s.", "Reply expected before %s.", dayOf(p, due))
}

// dayOf is a day of the coming weeks: "mardi 1er décembre".
func dayOf(p *render.Pages, day time.Time) string {
	return strings.TrimSpace(strings.TrimSuffix(render.LongDay(day, p.Lang), day.Format("2006")))
}
