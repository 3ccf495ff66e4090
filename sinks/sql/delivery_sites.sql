-- Purpose: whose deliveries are stored. Milliseconds: the primary key begins with it.
SELECT DISTINCT site FROM $deliveries ORDER BY site
