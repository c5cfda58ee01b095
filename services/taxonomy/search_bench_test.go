package taxonomy

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

// scaled is the default taxonomy, its themes again and again until there are so many reasons. Each
// time the words are others in part, as in a taxonomy that somebody wrote.
func scaled(tb testing.TB, reasons int) string {
	tb.Helper()
	head, themes, ok := strings.Cut(string(Default), "\nthemes:\n")
	if !ok {
		tb.Fatal("no themes in the default taxonomy")
	}
	each := strings.Count(themes, "\n          - {code: ")
	var whole strings.Builder
	whole.WriteString(head + "\nthemes:\n")
	for n := 0; n*each < reasons; n++ {
		i := 0
		for line := range strings.Lines(themes) {
			if strings.HasPrefix(line, "  - code: ") && n > 0 {
				line = fmt.Sprintf("%s-%d\n", strings.TrimSpace(line[:len(line)-1]), n)
				line = "  " + line
			}
			if before, after, ok := strings.Cut(line, "label: \""); ok {
				i++
				line = fmt.Sprintf("%slabel: \"%s %s", before, coined(n*1000+i), after)
			}
			whole.WriteString(line)
		}
	}
	return whole.String()
}

// coined is a word of its own for each number.
func coined(n int) string {
	var w strings.Builder
	for range 4 {
		w.WriteByte("bcdfghjlmnprstv"[n%15])
		n /= 15
		w.WriteByte("aeiou"[n%5])
		n /= 5
	}
	return w.String()
}

// BenchmarkSearch compares a search in 10,000 reasons with a call of the same server that does next
// to nothing, by turns, and weighs the index. It prints by how much the 50th and 99th percentiles
// differ; the issue allows 3 and 30 MiB.
func BenchmarkSearch(b *testing.B) {
	content := scaled(b, 10_000)
	f, err := taxonomyfile.Parse("scaled", []byte(content))
	if err != nil {
		b.Fatal(err)
	}
	before := heap()
	x := newFinder(f, nil)
	weight := float64(heap()-before) / (1 << 20)
	runtime.KeepAlive(x)
	runtime.KeepAlive(f)
	s, err := run(b, testenv.Postgres(b, nil), content)
	if err != nil {
		b.Fatal(err)
	}
	questions := []string{
		"rib", "demenagment", "perte carte vitale", "mot de passe oublié", "paiements", "dem", "l",
		"bonjour je n'ai toujours pas reçu le remboursement de ma consultation chez le dentiste",
		"je voudrais savoir comment faire une demande d’aide au logement pour mon fils étudiant svp",
		"demande paiement enfant travail retraite déclarer attestation cotisation changer compte", "zzz yyy xxxxxxx wwwwwwwww",
		"remboursment alocation prestasion cotisassion indemnitées retrete atestation vercement",
	}
	call := func(do func() error) time.Duration {
		begun := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		return time.Since(begun)
	}
	var empty, searches []time.Duration
	for i := range max(b.N, 20_000) {
		if i == 1000 {
			empty, searches = empty[:0], searches[:0] // warm
		}
		empty = append(empty, call(func() error {
			_, err := s.ResolveSuggestion(b.Context(), &taxonomypb.ResolveSuggestionRequest{Audience: particulier, Theme: "retraite"})
			return err
		}))
		searches = append(searches, call(func() error {
			_, err := s.SearchReasons(b.Context(), &taxonomypb.SearchReasonsRequest{Audience: particulier, Q: questions[i%len(questions)]})
			return err
		}))
	}
	slices.Sort(empty)
	slices.Sort(searches)
	at := func(list []time.Duration, share float64) float64 {
		return float64(list[int(share*float64(len(list)))].Microseconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(empty, 0.5), "empty-p50-µs")
	b.ReportMetric(at(empty, 0.99), "empty-p99-µs")
	b.ReportMetric(at(searches, 0.5), "search-p50-µs")
	b.ReportMetric(at(searches, 0.99), "search-p99-µs")
	b.ReportMetric(at(searches, 0.5)/at(empty, 0.5), "p50-ratio")
	b.ReportMetric(at(searches, 0.99)/at(empty, 0.99), "p99-ratio")
	b.ReportMetric(weight, "index-MiB")
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
