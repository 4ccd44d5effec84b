package models

import (
	"context"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
)

// seenSQL is whether all that a token stands for is recorded as the token has it.
const seenSQL = `
SELECT EXISTS (SELECT FROM users u JOIN domains d ON d.id = u.domain_id
               WHERE u.id = @user_id AND u.name = @user_name AND u.enabled AND u.deleted_at IS NULL
                 AND d.id = @user_domain_id AND d.name = @user_domain_name AND d.enabled)
   AND (@project_id = '' OR EXISTS (SELECT FROM projects p JOIN domains d ON d.id = p.domain_id
               WHERE p.id = @project_id AND p.name = @project_name AND p.enabled AND p.deleted_at IS NULL
                 AND d.id = @project_domain_id AND d.name = @project_domain_name AND d.enabled))
   AND (@domain_id = '' OR EXISTS (SELECT FROM domains WHERE id = @domain_id AND name = @domain_name AND enabled))`

// See records the user, the project and the domains of a token that another identity service issued: what is made refers to them, and
// is shown with their names. A name that was another's before is this one's by now, and that other one's is not known until it is seen.
func (s *Store) See(ctx context.Context, i TokenInfo) error {
	var known bool
	err := withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, seenSQL, pgx.StrictNamedArgs{
			"user_id": i.User.ID, "user_name": i.User.Name, "user_domain_id": i.UserDomain.ID, "user_domain_name": i.UserDomain.Name,
			"project_id": i.Project.ID, "project_name": i.Project.Name, "project_domain_id": i.ProjectDomain.ID, "project_domain_name": i.ProjectDomain.Name,
			"domain_id": i.Domain.ID, "domain_name": i.Domain.Name,
		}).Scan(&known)
	})
	if err != nil || known {
		return failed(err, "look up what a token of user %s is for", i.User.ID)
	}
	err = s.tx(ctx, func(tx *gorm.DB) error {
		// Two that take each other's names would wait for each other.
		if err := tx.Exec("SELECT pg_advisory_xact_lock(hashtextextended('seen', 0))").Error; err != nil {
			return err
		}
		for _, d := range []Named{i.UserDomain, i.ProjectDomain, i.Domain} {
			if d.ID == "" {
				continue
			}
			if err := each(tx, []any{d.Name, d.ID},
				"UPDATE domains SET name = "+nameOfDeleted+" WHERE name = $1 AND id <> $2",
				`INSERT INTO domains (id, name, enabled, created_at) VALUES ($2, $1, true, now())
				ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, enabled = true`); err != nil {
				return err
			}
		}
		if err := each(tx, []any{i.User.Name, i.User.ID, i.UserDomain.ID},
			"UPDATE users SET name = "+nameOfDeleted+" WHERE name = $1 AND id <> $2 AND domain_id = $3",
			`INSERT INTO users (id, name, domain_id, password_hash, enabled, created_at) VALUES ($2, $1, $3, '', true, now())
			ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, domain_id = EXCLUDED.domain_id, enabled = true, deleted_at = NULL`); err != nil {
			return err
		}
		if i.Project.ID == "" {
			return nil
		}
		return each(tx, []any{i.Project.Name, i.Project.ID, i.ProjectDomain.ID},
			"UPDATE projects SET name = "+nameOfDeleted+" WHERE name = $1 AND id <> $2 AND domain_id = $3",
			`INSERT INTO projects (id, name, domain_id, enabled, created_at) VALUES ($2, $1, $3, true, now())
			ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, domain_id = EXCLUDED.domain_id, enabled = true, deleted_at = NULL`)
	})
	return failed(err, "record what a token of user %s is for", i.User.ID)
}

func each(tx *gorm.DB, args []any, statements ...string) error {
	for _, sql := range statements {
		if err := tx.Exec(sql, args...).Error; err != nil {
			return err
		}
	}
	return nil
}
