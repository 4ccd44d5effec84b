package identity

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestAClientThatAsksForManyTurnsKeepsOnlyItselfWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newTurns(2)
		came := make(chan string, 100)
		ask := func(ctx context.Context, client, as string) {
			go func() {
				if all.take(ctx, client) {
					came <- as
				} else {
					came <- as + " gave up"
				}
			}()
			synctest.Wait()
		}
		for i := range 5 {
			ask(t.Context(), "a", fmt.Sprint("a", i))
		}
		impatient, giveUp := context.WithCancel(t.Context())
		ask(impatient, "b", "b0")
		ask(t.Context(), "c", "c0")
		ask(t.Context(), "c", "c1")
		giveUp()
		synctest.Wait()
		for range 7 {
			all.give()
			synctest.Wait()
		}
		close(came)
		var order []string
		for as := range came {
			order = append(order, as)
		}
		require.Equal(t, []string{"a0", "a1", "b0 gave up", "a2", "c0", "a3", "c1", "a4"}, order)
		require.Equal(t, 2, all.free)
		require.Empty(t, all.clients)
		require.Empty(t, all.waiting)
	})
}

func TestAClientIsItsAddressOrItsNetwork(t *testing.T) {
	for remote, client := range map[string]string{
		"192.0.2.7:40000": "192.0.2.7", "[2001:db8::1:2:3:4]:40000": "2001:db8::/64", "[fe80::1%eth0]:40000": "fe80::/64",
		"[::ffff:192.0.2.7]:40000": "192.0.2.7", "@": "@",
	} {
		require.Equal(t, client, clientOf(remote), remote)
	}
}
