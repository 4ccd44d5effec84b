package ovs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// callTimeout bounds what asks the database even where the caller's context does not.
const callTimeout = 10 * time.Second

// database is Open vSwitch's own, that of this host. Nothing of it is kept: each question is asked of it, so nothing is ever too old.
type database struct {
	endpoint string

	mu   sync.Mutex
	conn client.Client
}

// anyRow is what the client wants to know of the schema before it connects: one table.
type anyRow struct {
	UUID string `ovsdb:"_uuid"`
	Name string `ovsdb:"name"`
}

func (d *database) connection(ctx context.Context) (client.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil && d.conn.Connected() {
		return d.conn, nil
	}
	m, err := model.NewClientDBModel("Open_vSwitch", map[string]model.Model{"Interface": &anyRow{}})
	if err != nil {
		return nil, err
	}
	c, err := client.NewOVSDBClient(m, client.WithEndpoint(d.endpoint))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	d.conn = c
	return c, nil
}

// do carries out one transaction. One that the connection's end has cut off may have taken effect.
func (d *database) do(ctx context.Context, ops ...ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	within, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return d.transact(within, ops...)
}

func (d *database) transact(ctx context.Context, ops ...ovsdb.Operation) (results []ovsdb.OperationResult, err error) {
	// A connection that was kept may turn out to be dead: the database was restarted. So it is asked once more.
	for range 2 {
		var c client.Client
		if c, err = d.connection(ctx); err != nil {
			break
		}
		if results, err = c.Transact(ctx, ops...); !errors.Is(err, client.ErrNotConnected) {
			break
		}
	}
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, fmt.Errorf("ask Open vSwitch's database at %s: %w", d.endpoint, err), "The host's Open vSwitch does not answer")
	}
	failed, err := ovsdb.CheckOperationResults(results, ops)
	if len(failed) > 0 {
		err = failed[0]
	}
	return results, err
}

func (d *database) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.Close()
		d.conn = nil
	}
}

// Columns of rows, as the database gives them.

func text(row ovsdb.Row, column string) string {
	s, _ := row[column].(string)
	if set, ok := row[column].(ovsdb.OvsSet); ok && len(set.GoSet) == 1 { // an optional one
		s, _ = set.GoSet[0].(string)
	}
	return s
}

func texts(row ovsdb.Row, column string) (all []string) {
	switch v := row[column].(type) {
	case string:
		return []string{v}
	case ovsdb.OvsSet:
		for _, x := range v.GoSet {
			if s, ok := x.(string); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

func number(row ovsdb.Row, column string) int {
	n, _ := row[column].(float64)
	if set, ok := row[column].(ovsdb.OvsSet); ok && len(set.GoSet) == 1 {
		n, _ = set.GoSet[0].(float64)
	}
	return int(n)
}

func id(row ovsdb.Row, column string) string {
	u, _ := row[column].(ovsdb.UUID)
	return u.GoUUID
}

func pairs(row ovsdb.Row, column string) map[string]string {
	m, _ := row[column].(ovsdb.OvsMap)
	all := make(map[string]string, len(m.GoMap))
	for k, v := range m.GoMap {
		key, _ := k.(string)
		value, _ := v.(string)
		all[key] = value
	}
	return all
}

func ofPairs(all map[string]string) ovsdb.OvsMap {
	m := ovsdb.OvsMap{GoMap: make(map[any]any, len(all))}
	for k, v := range all {
		m.GoMap[k] = v
	}
	return m
}
