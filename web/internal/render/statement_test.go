package render

import "testing"

func TestStatement_Validate(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		given Statement
		want  bool
		leads string
	}{
		{Statement{State: NotConforming}, true, ""},
		{Statement{State: NotConforming, Contact: "acces@example.org"}, true, "mailto:acces@example.org"},
		{Statement{State: NotConforming, Contact: "https://example.org/acces"}, true, "https://example.org/acces"},
		{Statement{State: PartiallyConforming, Audit: "Audit du 3 mai 2026 par Untel : 82 % des critères."}, true, ""},
		{Statement{State: FullyConforming, Audit: "Audit du 3 mai 2026."}, true, ""},
		{Statement{State: PartiallyConforming}, false, ""},
		{Statement{State: FullyConforming, Audit: " "}, false, ""},
		{Statement{}, false, ""},
		{Statement{State: "audited"}, false, ""},
		{Statement{State: NotConforming, Contact: "http://example.org"}, false, "mailto:http://example.org"},
		{Statement{State: NotConforming, Contact: "https://"}, false, "https://"},
		{Statement{State: NotConforming, Contact: "nobody"}, false, "mailto:nobody"},
		{Statement{State: NotConforming, Contact: "acces@example"}, false, "mailto:acces@example"},
		{Statement{State: NotConforming, Contact: "acces@example.org\u200b"}, false, "mailto:acces@example.org\u200b"},
		{Statement{State: NotConforming, Contact: "https://example.org\\@evil.example"}, false, "https://example.org\\@evil.example"},
		{Statement{State: NotConforming, Contact: "https://a@example.org"}, false, "https://a@example.org"},
		{Statement{State: PartiallyConforming, Audit: "\u202eAudit"}, false, ""},
		{Statement{State: PartiallyConforming, Audit: "\u2800\u200b"}, false, ""},
	} {
		if err := row.given.Validate(); (err == nil) != row.want || row.given.ContactURL() != row.leads {
			t.Errorf("%+v: %v, leads to %q", row.given, err, row.given.ContactURL())
		}
	}
}
