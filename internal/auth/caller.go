package auth

// Caller is who asks, as its token says.
type Caller struct {
	UserID    string
	ProjectID string // "" for a token that is scoped to none
	DomainID  string // of a token that is scoped to a domain
	System    bool   // the token is scoped to the system
	Roles     []string
	// Application is the id of the application credential that the caller logged in with; "" for none.
	Application string
	// Restricted is whether that may make no other credentials, nor see those that let in with more.
	Restricted bool
}

// Admin says whether the caller may see and change everything. Who is an admin of a domain is one of its users, groups and
// projects alone.
func (c Caller) Admin() bool { return c.DomainID == "" && Has(c.Roles, RoleAdmin) }

// CanWrite says whether the caller may change things of its project; a reader may not.
func (c Caller) CanWrite() bool { return Has(c.Roles, RoleMember) }

// Owns says whether what belongs to the project is the caller's to see and to use: an admin's is everything.
func (c Caller) Owns(projectID string) bool { return c.ProjectID == projectID || c.Admin() }
