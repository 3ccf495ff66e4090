"""Deals: what CRMs, shops and payment providers tell, as facts, and what the books must say of them."""
