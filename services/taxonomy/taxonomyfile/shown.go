package taxonomyfile

import (
	"slices"

	"github.com/ma-messagerie/messagerie/chassis/contact"
	"github.com/ma-messagerie/messagerie/chassis/plain"
)

// checkText checks a line that people are shown.
func (l *linter) checkText(what string, text, code Mark, most int) {
	if text.Word == "" {
		l.fault(eitherPlace(text, code), textMissing, "write what people shall read", "%s is missing", what)
		return
	}
	for _, flaw := range plain.Shown(text.Word, most) {
		l.fault(text.Place, textPrefix+string(flaw.Flaw), flaw.Hint, "%s: %s", what, flaw.Text)
	}
}

// labels are those of siblings, by what a reader takes for the same, with who sees them.
type labels map[string][]string

// distinct reports a label that somebody sees beside another like it.
func (l *linter) distinct(kind string, label Mark, seenBy []string, among labels) {
	alike := plain.Alike(label.Word)
	if alike == "" {
		return
	}
	for _, a := range seenBy {
		if slices.Contains(among[alike], a) {
			l.fault(label.Place, labelDuplicate, "say what makes the two differ", "a %s beside it is called the same for %s: %q", kind, a, label)
			break
		}
	}
	among[alike] = append(among[alike], seenBy...)
}

// checkContact checks how a queue can be reached: the acknowledgement must name its postal address
// and telephone (CRPA, article R112-5). The e-mail address may be left out.
func (l *linter) checkContact(q *Queue) {
	if q.PostalAddress.Word == "" || q.Phone.Word == "" {
		l.fault(q.Code.Place, textMissing, "write them as the service publishes them", "queue %s needs postal_address and phone: the acknowledgement must name them", q.Code)
	}
	if q.PostalAddress.Word != "" {
		if err := contact.Postal(q.PostalAddress.Word); err != nil {
			l.fault(q.PostalAddress.Place, postalInvalid, err.Error(), "%q is not a postal address", q.PostalAddress)
		}
	}
	if q.Phone.Word != "" {
		if err := contact.Published(q.Phone.Word); err != nil {
			l.fault(q.Phone.Place, phoneInvalid, err.Error(), "%q is not a telephone number", q.Phone)
		}
	}
	if q.Email.Line != 0 {
		if err := contact.WrittenEmail(q.Email.Word); err != nil {
			l.fault(q.Email.Place, emailInvalid, err.Error(), "%q is not an e-mail address", q.Email)
		}
	}
}

// checkURL refuses what a member's browser should not be sent to.
func (l *linter) checkURL(address Mark) {
	if err := contact.Web(address.Word); err != nil {
		l.fault(address.Place, urlInvalid, err.Error(), "%q is not an address of the web", address)
	}
}
