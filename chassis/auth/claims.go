package auth

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/ma-messagerie/messagerie/chassis/plain"
)

// What is kept of a token's claims. A longer name is cut; of the others, cutting
// would make something else of them, so a longer one counts as absent.
const (
	maxNameChars = 200
	// maxPointChars is more than an e-mail address may have: one that is cut is none.
	maxPointChars = 260
	maxWordBytes  = 64 // of a locale, a caisse, a queue, a profile, a role, a number
	// maxWords bounds each list. A token holds no more than some hundreds anyway.
	maxWords = 256
	// maxSubjectBytes is what OpenID Connect allows (Core 1.0, 2).
	maxSubjectBytes = 255
)

// defaultNumberClaim is the claim with a member's number where their issuer names none.
const defaultNumberClaim = "member_number"

// digested marks a subject that stands for a sub that cannot be used as it is.
const digested = "sha256:"

// claims are what a token says, before any of it is believed. A claim of an unexpected type
// is read as absent: an issuer that writes a name as a number locks nobody out.
type claims struct {
	Issuer   string      `json:"iss"`
	Subject  subject     `json:"sub"`
	Audience audience    `json:"aud"`
	Expiry   json.Number `json:"exp"`
	Name     claim       `json:"name"`
	Email    claim       `json:"email"`
	Phone    number      `json:"phone_number"`
	Locale   claim       `json:"locale"`
	Caisse   claim       `json:"caisse"`
	Profiles claimList   `json:"profiles"`
	Queues   claimList   `json:"queues"`
	Roles    claimList   `json:"roles"`
	Scope    claim       `json:"scope"`
	Scopes   claimList   `json:"scp"`
	ClientID claim       `json:"client_id"`
	Party    claim       `json:"azp"`
}

// identity returns the caller that verified claims stand for. Cleaning changes only the
// name, which is merely displayed, and contact points, of which package contact says whether
// they can be used: a changed queue or role would be a right that nobody gave.
func (c *claims) identity(iss Issuer) *Identity {
	return &Identity{
		Subject: iss.Name + ":" + string(c.Subject), Realm: iss.Realm,
		Name:   plain.Line(string(c.Name), maxNameChars),
		Email:  point(string(c.Email)),
		Phone:  point(string(c.Phone)),
		Locale: whole(strings.TrimSpace(string(c.Locale)), maxWordBytes),
		// A caisse is also a token of the broker's subjects, in lower case.
		Caisse:   whole(strings.ToLower(strings.TrimSpace(string(c.Caisse))), maxWordBytes),
		Profiles: c.Profiles.words(), Queues: c.Queues.words(), Roles: c.Roles.words(),
		// RFC 8693, 4.2: one text with spaces between; some issuers write a list.
		Scopes: append(claimList(strings.Fields(string(c.Scope))), c.Scopes...).words(),
		Client: whole(cmp.Or(string(c.ClientID), string(c.Party), string(c.Subject)), maxSubjectBytes),
	}
}

// numberOf returns a member's number, which is in a claim that their issuer names; raw is all
// claims. A number of JSON counts if it is written as digits alone: any other form, such as
// 1e9, is not what the fund calls its member.
func numberOf(iss Issuer, raw []byte) string {
	if iss.Realm != RealmMember {
		return ""
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		return "" // it was read as claims
	}
	value := all[cmp.Or(iss.NumberClaim, defaultNumberClaim)]
	var text number
	_ = text.UnmarshalJSON(value)
	return whole(strings.TrimSpace(string(text)), maxWordBytes)
}

// whole returns a text as it is, or nothing if it is too long or not plain.
func whole(text string, most int) string {
	if len(text) > most || !plain.Is(text) || strings.ContainsRune(text, utf8.RuneError) {
		return ""
	}
	return text
}

// point is a contact point as its member sees it, and can be told why it cannot be used.
func point(raw string) string {
	if line := plain.Line(raw, maxPointChars); len(line) < maxPointChars {
		return line
	}
	return plain.Line(raw, maxPointChars-1) + "…"
}

// number is a claim that some issuers write as a number, and others as a text.
type number string

// UnmarshalJSON reads a text or digits, and anything else as none.
func (n *number) UnmarshalJSON(data []byte) error {
	var text claim
	if _ = text.UnmarshalJSON(data); text == "" && strings.Trim(string(data), "0123456789") == "" {
		text = claim(data)
	}
	*n = number(text)
	return nil
}

// claim is a claim whose value is a text.
type claim string

// UnmarshalJSON reads a text, and anything else as none.
func (c *claim) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*c = claim(text)
	}
	return nil
}

// claimList is a list of texts, or one alone.
type claimList []string

// UnmarshalJSON reads a text or a list, of which it leaves out what is not a text.
func (l *claimList) UnmarshalJSON(data []byte) error {
	var list []claim
	if json.Unmarshal(data, &list) != nil {
		list = make([]claim, 1)
		_ = list[0].UnmarshalJSON(data)
	}
	for _, c := range list {
		*l = append(*l, string(c))
	}
	return nil
}

// words returns the entries that can be a code.
func (l claimList) words() []string {
	var words []string
	for _, word := range l {
		if word = whole(word, maxWordBytes); word != "" && len(words) < maxWords {
			words = append(words, word)
		}
	}
	return words
}

// subject is a sub that can be stored, logged and compared.
type subject string

// UnmarshalJSON takes a sub as it is, or replaces it by a digest: always the same for the
// same sub, and different from every sub. Text that could not be decoded reads as U+FFFD;
// two such subs may differ in their bytes alone, so it is the bytes that are digested.
func (s *subject) UnmarshalJSON(data []byte) error {
	var sub string
	if err := json.Unmarshal(data, &sub); err != nil {
		return err
	}
	switch {
	case strings.ContainsRune(sub, utf8.RuneError):
		*s = digestOf(data)
	case len(sub) > maxSubjectBytes, !plain.Is(sub), strings.HasPrefix(sub, digested):
		*s = digestOf([]byte(sub))
	default:
		*s = subject(sub)
	}
	return nil
}

func digestOf(sub []byte) subject {
	sum := sha256.Sum256(sub)
	return subject(digested + hex.EncodeToString(sum[:]))
}

// audience is one string or a list of them (RFC 7519, 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*a = make(audience, 1)
		return json.Unmarshal(data, &(*a)[0])
	}
	return json.Unmarshal(data, (*[]string)(a))
}
