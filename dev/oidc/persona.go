package oidc

import (
	"regexp"
	"slices"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// Persona is an invented person, company or machine that anybody may be.
type Persona struct {
	// Name is both the sub claim and what /dev/token?as= takes. Unique over all
	// issuers.
	Name string
	// Realm tells the issuer that signs for the persona.
	Realm auth.Realm
	// About is shown next to the name on the login page, in French.
	About string

	// The claims; an empty one is left out of the token.
	FullName, Email, Phone, Locale, Caisse string
	// Number is the fund's identifier of a member: made up, and unlike the NIR.
	Number                  string
	Profiles, Queues, Roles []string
	// Scopes are what a machine's token allows.
	Scopes []string
}

// memberRead is the scope that finds members' conversations, which people have as a role.
const memberRead = "member.read"

// caisse is the one local organisation of the personas.
const caisse = "armorique"

// Phone numbers are in the range that France keeps for fiction (Arcep, decision
// 2018-0881: 06 39 98 00 00 to 06 39 98 99 99); mail domains are of RFC 2606.
var personas = []Persona{
	{
		Name: "jeanne", Realm: auth.RealmMember, About: "particulier",
		FullName: "Jeanne Martin", Email: "jeanne@example.org", Phone: "+33639980001", Locale: "fr", Caisse: caisse, Number: "A1-204-517",
		Profiles: []string{"PARTICULIER"},
	},
	{
		Name: "paul", Realm: auth.RealmMember, About: "exploitant agricole",
		FullName: "Paul Le Goff", Email: "paul@example.org", Phone: "+33639980002", Locale: "fr", Caisse: caisse, Number: "B7-310-228",
		Profiles: []string{"EXPLOITANT"},
	},
	{
		Name: "tilleuls", Realm: auth.RealmMember, About: "employeur",
		FullName: "Les Tilleuls SARL", Email: "tilleuls@example.org", Phone: "+33639980003", Locale: "fr", Caisse: caisse, Number: "E4-902-061",
		Profiles: []string{"EMPLOYEUR"},
	},
	{
		Name: "marc", Realm: auth.RealmMember, About: "particulier et exploitant agricole, lit l’anglais",
		FullName: "Marc Dubois", Email: "marc@example.org", Phone: "+33639980004", Locale: "en", Caisse: caisse, Number: "C2-775-340",
		Profiles: []string{"PARTICULIER", "EXPLOITANT"},
	},
	{
		Name: "claire", Realm: auth.RealmAgent, About: "agente, toutes les files, peut rechercher un adhérent",
		FullName: "Claire Bernard", Email: "claire@example.org", Locale: "fr", Caisse: caisse,
		Queues: []string{auth.AllQueues}, Roles: []string{auth.RoleAgent, memberRead},
	},
	{
		Name: "nadia", Realm: auth.RealmAgent, About: "agente, la file Retraite seulement, sans droit de recherche",
		FullName: "Nadia Cherif", Email: "nadia@example.org", Locale: "fr", Caisse: caisse,
		Queues: []string{"retraite"}, Roles: []string{auth.RoleAgent},
	},
	{
		Name: "sofiane", Realm: auth.RealmAgent, About: "agent, superviseur et exploitant de la plateforme",
		FullName: "Sofiane Haddad", Email: "sofiane@example.org", Locale: "fr", Caisse: caisse,
		Queues: []string{auth.AllQueues}, Roles: []string{auth.RoleAgent, auth.RoleSupervisor, auth.RoleOperator},
	},
	{
		Name: "crm", Realm: auth.RealmMachine, About: "le CRM de la caisse, qui répond au nom des agents",
		FullName: "CRM", Caisse: caisse,
		Queues: []string{auth.AllQueues}, Roles: []string{auth.RoleAgent},
		Scopes: []string{"queue.read", "queue.write", "replies.write", "notes.write", "templates.read", "statistics.read", memberRead},
	},
	{Name: "gateway", Realm: auth.RealmMachine, About: "service", FullName: "gateway", Roles: []string{auth.RoleService}},
	{Name: "messaging", Realm: auth.RealmMachine, About: "service", FullName: "messaging", Roles: []string{auth.RoleService}},
	{Name: "notifier", Realm: auth.RealmMachine, About: "service", FullName: "notifier", Roles: []string{auth.RoleService}},
}

// Personas returns all personas: members, then agents, then machines.
func Personas() []Persona { return slices.Clone(personas) }

// crowd are the names of as many members more as anybody needs for a load test:
// particulier-0100 to particulier-9999, each with a mailbox and a number of their
// own. No page lists them.
var crowd = regexp.MustCompile(`^particulier-([1-9][0-9]{3}|0[1-9][0-9]{2})$`)

// counter are the names of as many agents: conseiller-armorique-100 to -999, and the
// same of another caisse, msa-75, whose figures a load test may fill.
var counter = regexp.MustCompile(`^conseiller-(armorique|msa-75)-([1-9][0-9]{2})$`)

// personaNamed returns the persona, or nil.
func personaNamed(name string) *Persona {
	if agent := counter.FindStringSubmatch(name); agent != nil {
		return &Persona{
			Name: name, Realm: auth.RealmAgent, About: "conseiller",
			FullName: "Conseiller " + agent[2], Email: name + "@example.org", Locale: "fr", Caisse: agent[1],
			Queues: []string{auth.AllQueues}, Roles: []string{auth.RoleAgent, auth.RoleSupervisor},
		}
	}
	if number := crowd.FindStringSubmatch(name); number != nil {
		return &Persona{
			Name: name, Realm: auth.RealmMember, About: "particulier",
			FullName: "Particulier " + number[1], Email: name + "@example.org", Phone: "+3363998" + number[1], Locale: "fr", Caisse: caisse, Number: "P-" + number[1],
			Profiles: []string{"PARTICULIER"},
		}
	}
	i := slices.IndexFunc(personas, func(p Persona) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &personas[i]
}

// personasOf returns those that an issuer of this realm signs for.
func personasOf(realm auth.Realm) []Persona {
	return slices.DeleteFunc(Personas(), func(p Persona) bool { return p.Realm != realm })
}

// claims are what the persona's tokens say beyond the registered claims; the
// names are those that chassis/auth reads.
func (p *Persona) claims() map[string]any {
	claims := make(map[string]any)
	for name, value := range map[string]string{
		"name": p.FullName, "email": p.Email, "phone_number": p.Phone, "locale": p.Locale, "caisse": p.Caisse, "member_number": p.Number,
	} {
		if value != "" {
			claims[name] = value
		}
	}
	if len(p.Scopes) > 0 {
		claims["scope"] = strings.Join(p.Scopes, " ")
	}
	for name, list := range map[string][]string{"profiles": p.Profiles, "queues": p.Queues, "roles": p.Roles} {
		if len(list) > 0 {
			claims[name] = list
		}
	}
	return claims
}

// secret is the fixed client secret of a machine. It is published on the root
// page and protects nothing: development only.
func (p *Persona) secret() string { return p.Name + "-development-only" }
