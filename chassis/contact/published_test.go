package contact_test

import (
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/contact"
)

// each checks what is taken and what is not.
func each(t *testing.T, check func(string) error, taken, refused []string) {
	t.Helper()
	for _, value := range taken {
		if err := check(value); err != nil {
			t.Errorf("%+q: %v", value, err)
		}
	}
	for _, value := range refused {
		if err := check(value); err == nil || err.Error() == "" {
			t.Errorf("%+q is taken: %v", value, err)
		}
	}
}

func TestPublished(t *testing.T) {
	t.Parallel()
	each(t, contact.Published,
		[]string{"01 99 00 10 01", "02.99.01.23.45", "09 69 39 99 99", "0 800 00 20 80", "+33 2 99 01 23 45", "+33 (0)2 99 01 23 45", "01\u00a099\u00a000\u00a010\u00a001", "3646", "36 46", "3230", "116 006", "0262 90 12 34", "+32 2 509 59 59", "06 39 98 12 34"},
		[]string{"", "1", "15", "112", "9999", "+3646", "01 99 00 10", "01 99 00 10 01 23", "tel:0199001001", "01 99 OO 10 01", "0199001001 ou 02", "01 99 00\u200b 10 01", "０１ 99 00 10 01", "01 99 00 10 01\n", " 01 99 00 10 01", "(((0199001001", "00 00 00 00 00", "--"})
}

func TestPostal(t *testing.T) {
	t.Parallel()
	each(t, contact.Postal,
		[]string{
			"1 rue de l’Exemple, 35000 Rennes", "MSA, TSA 10001, 75436 PARIS CEDEX 09", "MSA d’Armorique, 3 rue Hervé de Guébriant, 29412 Landerneau Cedex", "1 rue A, 97400 Saint-Denis, France",
			"2 rue B, 20000 Ajaccio", "MSA d'Armorique\n3 rue Hervé de Guébriant\n29412 Landerneau Cedex\n", "1 rue,\n35000 Rennes", "Rue de la Loi 1, 1000 Bruxelles, Belgique", "10 Downing Street, London SW1A 2AA, Royaume-Uni",
		},
		[]string{
			"", "1 rue", "35000 Rennes", "1 rue de l’Exemple 35000 Rennes", "1 rue, 3500 Rennes", "1 rue, 350000 Rennes", "1 rue, 99000 Rennes", "1 rue, 00100 Rennes", "1 rue, 35000", "12, 35000 Rennes", ", 35000 Rennes",
			"1 rue,, 35000 Rennes", "1 rue, 35000 Rennes,", "1 rue\n\n35000 Rennes", "1 rue\r\n35000 Rennes", "1 rue\u202835000 Rennes", "1 rue\u202e, 35000 Rennes", "1 rue\u200b, 35000 Rennes", "1 rue, 35O00 Rennes", strings.Repeat("a", 290) + ", 35000 Rennes",
		})
}

func TestWeb(t *testing.T) {
	t.Parallel()
	each(t, contact.Web,
		[]string{
			"https://services.example.org/payer", "https://example.org", "https://example.org:8443/a?b=c&d=%C3%A9#e", "https://bücher.example/", "https://xn--bcher-kva.example/", "https://msa.fr/lfp/?x=[1]", "https://example.org/#/route",
			"http://localhost", "http://localhost:8080/x", "http://127.0.0.1:8080/x", "https://EXAMPLE.org/a",
		},
		[]string{
			"", "https://", "https:///x", "https://x", "https://localhost/x", "http://example.org/", "ftp://example.org", "javascript:alert(1)", "HTTPS:example.org", "https:example.org", "https://https://example.org", "//example.org",
			"https://a:b@example.org/", "https://a@example.org", "https://example.org@evil.example", "https://exa mple.org", "https://example.org/a b", "https://example.org\\@evil.example", "https://example.org/a\\b", "https://example.org/%0d%0aX",
			"https://example.org/%5c", "https://example.org/%zz", "https://example.org/?%", "https://example.org/é", "https://example.org/a\u200bb", "https://exam\u200bple.org", "https://example.org/\n", " https://example.org", "https://example.org ",
			"https://example.org:", "https://example.org:0/", "https://example.org:65536/", "https://example.org:080/", "https://example.org:a/", "https://example.org./", "https://-example.org", "https://exa_mple.org", "https://example..org", "https://example.orgg",
			"https://192.0.2.1/", "https://[2001:db8::1]/", "https://2130706433/", "https://0x7f.1", "https://1.2.3", "https://example.org/#", "https://example.org/#a#b", "https://%65xample.org/", "https://ex\u00admple.org", "http://localhost.evil.example", "http://localhost@evil.example/",
			"https://e\u0301.example/" + strings.Repeat("a", 2000),
		})
}

func TestWrittenEmail(t *testing.T) {
	t.Parallel()
	each(t, contact.WrittenEmail,
		[]string{"service@example.org", "Service.Sante@Example.org", "a@bücher.example", "a@xn--bcher-kva.example"},
		[]string{"", "mailto:a@example.org", " a@example.org", "a@example.org\u200b", "a@example", "a@example.orgg", "o’brien@example.org", "a b@example.org", "a@example.org, b@example.org", "A <a@example.org>"})
}
