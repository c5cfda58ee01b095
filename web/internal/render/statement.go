package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/contact"
	"github.com/ma-messagerie/messagerie/chassis/plain"
)

// Statement is what the fund declares about the accessibility of the site: law 2005-102, article
// 47, and decree 2019-768, which knows three states and no other.
type Statement struct {
	// State is one of the three: not, partial, full.
	State string
	// Audit says, in French, by whom and when the site was audited and with what result. The
	// states but the first need one.
	Audit string
	// Contact is where people say what is in their way: an e-mail address or an https address.
	// Empty: by a message.
	Contact string
}

// The states of a statement.
const (
	NotConforming       = "not"
	PartiallyConforming = "partial"
	FullyConforming     = "full"
)

// Validate reports all faults, by the names of their settings.
func (s Statement) Validate() error {
	var faults []error
	if !slices.Contains([]string{NotConforming, PartiallyConforming, FullyConforming}, s.State) {
		faults = append(faults, fmt.Errorf("ACCESSIBILITY %q is none of not, partial, full", s.State))
	} else if s.State != NotConforming && strings.TrimSpace(s.Audit) == "" {
		faults = append(faults, fmt.Errorf("ACCESSIBILITY %q needs ACCESSIBILITY_AUDIT: without an audit, a site does not conform", s.State))
	}
	faults = append(faults, plain.Setting("ACCESSIBILITY_AUDIT", s.Audit, maxAudit))
	if err := s.reachable(); err != nil {
		faults = append(faults, fmt.Errorf("ACCESSIBILITY_CONTACT %q is neither an e-mail address nor of the form https://host/path: %w", s.Contact, err))
	}
	return errors.Join(faults...)
}

// maxAudit is the most characters of what an audit has found.
const maxAudit = 1000

// reachable checks the contact by the rules for members' own.
func (s Statement) reachable() error {
	switch {
	case s.Contact == "":
		return nil
	case strings.HasPrefix(s.Contact, "https://"):
		return contact.Web(s.Contact)
	default:
		return contact.WrittenEmail(s.Contact)
	}
}

// ContactURL is where the contact leads; empty where there is none.
func (s Statement) ContactURL() string {
	switch {
	case s.Contact == "", strings.HasPrefix(s.Contact, "https://"):
		return s.Contact
	default:
		return "mailto:" + s.Contact
	}
}
